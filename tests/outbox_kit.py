"""What the outbox's tests share: events, a fast folder, and the outbox in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.outbox import Outbox
from monitor.types import Event, Phase, Reason

HELPER = Path(__file__).with_name("outbox_writer.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HELPER.parent.parent)}
FAST_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


def an_event(number: int, source: str = "hall", clip: str | None = None) -> Event:
    return Event(
        id=f"{source}-{number}",
        source=source,
        name="dog_bark",
        phase=Phase.START,
        started_at=1_700_000_000.5 + number,
        ended_at=None,
        peak_score=0.75,
        threshold=0.5,
        reason=Reason.THRESHOLD,
        clip=clip,
    )


async def contents(outbox: Outbox) -> list[str]:
    return [waiting.event.id for waiting in await outbox.peek(1_000_000)]


async def fill(outbox: Outbox, count: int) -> None:
    for number in range(count):
        await outbox.put(an_event(number))


def run_helper(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HELPER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=60)


@pytest.fixture(name="path")
def outbox_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        yield Path(folder) / "state" / "outbox.db"
