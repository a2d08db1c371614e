"""What the daemon tells systemd (sd_notify), and how often its watchdog wants to hear."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)

_SEND_SECONDS = 1.0


class Notifier:
    """The service's line to systemd; every call does nothing where systemd didn't start the process."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._socket = _connected(environ.get("NOTIFY_SOCKET", ""))
        self._failing = False
        self.watchdog_interval = _watchdog_interval(environ) if self._socket else None
        """Seconds between pings, half of what systemd waits for; None where it waits for none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        """Tell that the start, or a reload, is done."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` must follow, whether the new file is good or not."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_usec}", _status("reloading the configuration"))

    def stopping(self) -> None:
        """Tell that the shutdown begins."""
        self._send("STOPPING=1", _status("stopping"))

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """Tell that the daemon makes progress; call only when it does."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send("\n".join(lines).encode())
        except OSError as error:
            _log.log(
                logging.DEBUG if self._failing else logging.WARNING,
                "systemd can't be told %s: %s",
                lines[0],
                error,
            )
            self._failing = True
        else:
            self._failing = False


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())  # a line break would begin another assignment


def _connected(address: str) -> socket.socket | None:
    if not address:
        return None
    if address[0] not in "/@":
        _log.warning(
            "NOTIFY_SOCKET=%s is neither a path nor an abstract socket; systemd won't be told", address
        )
        return None
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    notify.settimeout(_SEND_SECONDS)
    try:
        notify.connect("\0" + address[1:] if address[0] == "@" else address)
    except OSError as error:
        notify.close()
        _log.warning("NOTIFY_SOCKET=%s: %s; systemd won't be told", address, error.strerror)
        return None
    return notify


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for another process
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2_000_000 if usec.isascii() and usec.isdigit() and int(usec) else None
