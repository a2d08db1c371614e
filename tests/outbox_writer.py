"""Writes events into an outbox as a process of its own, to be killed or starved of disk by the tests."""
# ruff: noqa: ASYNC110 - polling is all that another process can do

import asyncio
import os
import resource
import sys
from pathlib import Path

from monitor.errors import SinkError
from monitor.outbox import Outbox
from monitor.types import Event, Phase, Reason


def _event(name: str) -> Event:
    return Event(name, "hall", "dog_bark", Phase.START, 1.0, None, 0.9, 0.5, Reason.THRESHOLD)


async def _write(path: Path, prefix: str, count: int) -> None:
    async with Outbox(path) as outbox:
        for number in range(count):
            name = f"round{prefix}-{number}"
            await outbox.put(_event(name))
            os.write(1, f"put {name}\n".encode())


async def _write_with_little_space(path: Path, limit_bytes: int) -> None:
    """Fill the space, go on in memory, get the space back, and print what happened."""
    async with Outbox(path, max_unsaved=50, retry_seconds=0.05) as outbox:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
        number = 0
        while outbox.backlog.unsaved < 30:
            await outbox.put(_event(f"e-{number}"))
            number += 1
        sys.stdout.write(f"held {outbox.backlog.unsaved} of {number}\n")
        seen = [waiting.event.id for waiting in await outbox.peek(10_000)]
        assert seen == [f"e-{n}" for n in range(number)], "order while the disk refuses"
        first = (await outbox.peek(1))[0]
        await outbox.ack([first.id])
        assert (await outbox.peek(1))[0].event.id == "e-1", "an acknowledged event doesn't come back"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while outbox.backlog.unsaved:
            await asyncio.sleep(0.02)
    async with Outbox(path) as outbox:
        kept = [waiting.event.id for waiting in await outbox.peek(10_000)]
        assert kept == [f"e-{n}" for n in range(1, number)]
        sys.stdout.write(f"kept {len(kept)}\n")


def write(path: str, prefix: str, count: str) -> None:
    """Put `count` events, and tell of each when `put` has returned."""
    asyncio.run(_write(Path(path), prefix, int(count)))


def main() -> int:
    command, path, *rest = sys.argv[1:]
    if command == "write-as-nobody":
        if os.getuid() != 0:
            return 77
        os.setgid(65534)
        os.setuid(65534)
    try:
        if command == "starve":
            asyncio.run(_write_with_little_space(Path(path), int(rest[0])))
        else:
            asyncio.run(_write(Path(path), rest[0], int(rest[1])))
    except SinkError as error:
        sys.stderr.write(f"SinkError: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
