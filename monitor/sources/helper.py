"""The capture helper as its parent sees it: how it is started, asked and read.

PortAudio lives in a process of its own, one for each open microphone, because its device list is frozen while
any stream is open, because its calls hang for ever when a sound server does, because some ALSA plugins abort
the process that they run in, and because its callback needs the interpreter lock, which a loading model
keeps.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import monitor
from monitor.errors import SourceError, in_words

_ANSWER_SECONDS = 10.0

_log = logging.getLogger(__name__)

PACKET_HEAD = Struct("<IId")
SAMPLE_BYTES = 4


@dataclass(frozen=True, slots=True)
class Opened:
    """What the helper opened."""

    name: str
    rate_hz: int
    channels: int
    """How many are open, the first ones."""
    device_channels: int
    """How many there are."""
    block_frames: int

    @property
    def block_seconds(self) -> float:
        """The time from one packet to the next."""
        return self.block_frames / self.rate_hz

    @property
    def packet_bytes(self) -> int:
        """The length of every packet: a head, and a block of interleaved f32le samples."""
        return PACKET_HEAD.size + self.block_frames * self.channels * SAMPLE_BYTES


class PacketHead(NamedTuple):
    """What stands before each packet's samples."""

    lost: int
    """Frames lost just before, because this process was too slow to take them."""
    overflows: int
    """How often PortAudio said just before that frames were lost; it doesn't say how many."""
    arrived_at: float
    """Monotonic time at which the last of the samples arrived."""


def start(request: dict[str, Any]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a helper; the socket gives its answer, one line of JSON, and then packets.

    The helper ends when the socket is closed.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "monitor.sources.capture", json.dumps(request)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            # ALSA and PortAudio talk there, at length, about plugins that nobody has asked for.
            stderr=None if _log.isEnabledFor(logging.DEBUG) else subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": _import_path()},
        )
    except OSError as error:
        ours.close()
        raise SourceError(f"the capture process can't be started: {in_words(error)}") from None
    finally:
        theirs.close()
    return process, ours


def _import_path() -> str:
    """Return a path by which the helper finds this very package, installed or not."""
    package = str(Path(monitor.__file__).parent.parent)
    return os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])


def parse_answer(line: bytes) -> dict[str, Any]:
    """Return the helper's answer; raises SourceError with the error that it reports."""
    if not line.endswith(b"\n"):
        raise SourceError("the capture process died before it answered; run with `log: {level: debug}`")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise SourceError(answer["error"])
    return answer


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Start a helper for one answer, and wait for it."""
    process, connection = start(request)
    try:
        connection.settimeout(_ANSWER_SECONDS)
        with connection, connection.makefile("rb") as lines:
            return parse_answer(lines.readline())
    except TimeoutError:
        raise SourceError(
            f"PortAudio didn't answer within {_ANSWER_SECONDS:g} s: is the sound server hanging?"
        ) from None
    finally:
        process.kill()
        process.wait()
