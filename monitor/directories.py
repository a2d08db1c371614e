"""Where the monitor keeps what must outlive the process, and that only one daemon does so in one place."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from monitor.config import Config, HistoryConfig
from monitor.errors import SinkError, in_words

_LOCK = "daemon.lock"
_MOST_BYTES = 65_536
_GLANCES, _GLANCE_SECONDS = 5, 0.05
"""Who asks for a port has the lock for an instant where no daemon has it."""


def default_state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a configuration that names none: systemd's, or the user's own."""
    named = environ.get("STATE_DIRECTORY", "").split(":")[0]
    home = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(named or Path(home) / "sound-monitor")


def state_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the daemon keeps its state."""
    return config.state_directory or default_state_directory(environ)


def history_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the history is, or would be if there was one."""
    return state_directory(config, environ) / (config.history or HistoryConfig()).directory


class StateDirectory:
    """The state directory as one daemon has it while entered; beside its lock is a note of who that is.

    The lock ends with the process, however that ends, and a note counts only as long as the lock.
    """

    def __init__(self, path: Path, configuration: Path) -> None:
        """Be ready; `configuration` is the file that this daemon runs."""
        self.path = path
        self._note: dict[str, object] = {"pid": os.getpid(), "configuration": str(configuration.absolute())}

    def __enter__(self) -> Self:
        """Make and lock it; raises SinkError, also where another daemon has it."""
        name = f"state_directory {str(self.path)!r}"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            _lock(self._file)
        except BlockingIOError:
            says = (
                f"{name} is in use by {_owner(self._file)}; end that one, or set state_directory to another"
            )
            os.close(self._file)
            raise SinkError(says) from None
        except OSError as error:
            raise SinkError(f"{name} can't be used: {in_words(error)}") from None
        self.note()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def note(self, **facts: object) -> None:
        """Let others know this too; where the disk is full, they don't."""
        self._note |= facts
        with suppress(OSError):
            os.ftruncate(self._file, 0)  # nor may they then hear of the daemon before this one
            os.pwrite(self._file, json.dumps(self._note).encode(), 0)


def embedded_port(path: Path) -> int | None:
    """Return the port of the embedded broker of the daemon that has this state directory, if one has."""
    try:
        with (path / _LOCK).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                port = _noted(file.fileno()).get("mqtt_port")
                return port if isinstance(port, int) else None
    except OSError:
        pass
    return None


def _lock(file: int) -> None:
    for _ in range(_GLANCES):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_GLANCE_SECONDS)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _noted(file: int) -> dict[str, object]:
    try:
        note = json.loads(os.pread(file, _MOST_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _owner(file: int) -> str:
    match _noted(file):
        case {"pid": int(pid), "configuration": str(configuration)}:
            return f"process {pid} (sound-monitor run {configuration})"
    return "another process"
