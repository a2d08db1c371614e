"""The outlet that keeps what was heard: embeddings, levels and events, written once a second off the loop."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from monitor.config import Config
from monitor.history.folder import Folder
from monitor.history.values import Kind
from monitor.history.writer import Batch, Writer
from monitor.pipeline import Outlet
from monitor.sinks.messages import event_fields
from monitor.types import Encoder, Event, FloatArray, Window

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 1.0
MOST_WINDOWS = 20_000
"""That wait to be written, 31 MB of the compact encoder's; more are dropped, and counted."""
_MOST_EVENTS = 1_000

Describe = Callable[[Window, int], Kind]
"""Tells what the embedding of a window is of, given its dimension."""


def kind_of(window: Window, dimension: int, encoder: Encoder, config: Config) -> Kind:
    """Tell what a window's embedding is of."""
    cut = config.windows
    return Kind(
        window.source, encoder.identity, config.encoder.model, cut.window_seconds, cut.hop_seconds, dimension
    )


class Recorder(Outlet):
    """Takes every window without waiting, quiet ones without an embedding; `run` writes them."""

    def __init__(self, writer: Writer, describe: Describe, most_windows: int = MOST_WINDOWS) -> None:
        self._writer = writer
        self._describe = describe
        self._most_windows = most_windows
        self._batches: list[Batch] = []
        self._events: list[dict[str, Any]] = []
        self._waiting = 0
        self._going_on: set[str] = set()
        self._failing = False
        self._stopping = asyncio.Event()
        self.written = 0
        """Windows on disk."""
        self.dropped = 0
        """Windows lost because the disk was too slow, full or gone."""

    def source_changed(self, source: str, online: bool) -> None:
        """Begin a new stretch with the next window after a loss."""
        if not online:
            self._going_on.discard(source)

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        """Take a batch, if there is room."""
        if self._waiting + len(windows) > self._most_windows:
            self.dropped += len(windows)
            return
        begins = []
        for window in windows:
            begins.append(window.source not in self._going_on)
            self._going_on.add(window.source)
        self._batches.append(
            Batch(
                [self._describe(window, embeddings.shape[1]) for window in windows],
                [window.end_time for window in windows],
                [window.level_dbfs for window in windows],
                begins,
                embeddings.astype(np.float16),
            )
        )
        self._waiting += len(windows)

    async def deliver(self, event: Event) -> None:
        """Take a start or an end, to compare with when another configuration is tried."""
        if len(self._events) < _MOST_EVENTS:
            self._events.append(event_fields(event))

    async def run(self) -> None:
        """Write once a second, until stopped; then the rest."""
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                await self.flush()
        await self.flush()
        await asyncio.to_thread(self._writer.close)

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    async def flush(self) -> None:
        """Write what waits."""
        batches, events = self._batches, self._events
        self._batches, self._events, count = [], [], self._waiting
        try:
            await asyncio.to_thread(self._writer.write, batches, events)
        except OSError as error:
            self.dropped += count
            level = logging.DEBUG if self._failing else logging.WARNING
            _log.log(level, "the history can't be written: %s; detection goes on", error)
            self._failing = True
        else:
            self.written += count
            if self._failing and count:
                self._failing = False
                _log.info("the history is being written again")
        finally:
            self._waiting -= count


@asynccontextmanager
async def recording(
    directory: Path, describe: Describe, *, keep_days: float = math.inf, max_bytes: float = math.inf
) -> AsyncIterator[Recorder]:
    """Write to a folder until left; raises HistoryError where that can't be done at all."""
    folder = Folder(directory)
    with folder.lock():
        recorder = Recorder(Writer(folder, keep_days, max_bytes), describe)
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run(), name="history")
            try:
                yield recorder
            finally:
                recorder.stop()
