"""Appends windows to a history as a process of its own, to be killed, and tells what was flushed."""

import asyncio
import os
from pathlib import Path

import numpy as np

from monitor.history.values import Kind
from monitor.recorder import recording
from monitor.types import Event, Phase, Reason, Window

DIMENSION = 64
NOTHING = np.zeros(1, np.float32)


def window(number, source="hall", began=3600.0 * 400_000):
    end = began + number
    return Window(source, number, 1, NOTHING, end - 2.0, end, -40.0)


def embedding(number):
    """What window `number` has, so that a reader can tell whether it got the right one."""
    row = np.random.default_rng(int(number)).standard_normal(DIMENSION)
    return (row / np.linalg.norm(row)).astype(np.float16)


def kind(source="hall", encoder="tones-1", **more):
    return Kind(source, encoder, "compact", 2.0, 1.0, DIMENSION, **more)


async def _write(folder: Path, first: int) -> None:
    async with recording(folder, lambda window, _: kind(window.source)) as recorder:
        number = first
        while True:
            for _ in range(20):
                recorder.embedded([window(number)], embedding(number)[None].astype(np.float32))
                number += 1
            start = window(number).end_time
            await recorder.deliver(
                Event(str(number), "hall", "bark", Phase.START, start, None, 0.9, 0.5, Reason.THRESHOLD)
            )
            await recorder.flush()
            os.write(1, f"{number}\n".encode())


def write(folder: str, first: str) -> None:
    """Append windows from number `first` on, and tell the number after the last flushed one."""
    asyncio.run(_write(Path(folder), int(first)))
