"""What the microphones' tests share: a way to a sound server, and how to listen to one."""

import time

import psutil
import pytest

from monitor.config import MicrophoneSource
from monitor.errors import SourceError
from monitor.sources import open_source


def hear(server, monkeypatch):
    """Let this process and its helpers use a server."""
    for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_SERVER"):
        monkeypatch.setenv(name, server.environment[name])


def microphone(device=None, rate_hz=48_000, **options):
    return open_source("mic", MicrophoneSource(device=device, **options), rate_hz)


async def listen(source, seconds):
    """Return the next blocks of a source, for about so long."""
    blocks = []
    async for block in source:
        blocks.append(block)
        if block.position + len(block.samples) - blocks[0].position >= seconds * block.rate_hz:
            return blocks
    return blocks


async def first_failure(source):
    """Listen until the source fails; return the error and the seconds since its last block."""
    last = time.monotonic()
    try:
        async for _ in source:
            last = time.monotonic()
    except SourceError as error:
        return str(error), time.monotonic() - last
    pytest.fail("a microphone ended without an error")


def helpers():
    """Return the capture processes of this one."""
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "monitor.sources.capture" in child.cmdline()]
