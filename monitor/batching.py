"""Gathering windows of all sources into batches; live, the newest window of a source wins."""

from __future__ import annotations

import asyncio
import contextlib

from monitor.types import Window


class Batcher:
    """One pending slot per source, so that live audio never queues up.

    `offer` replaces what is pending (live); `put` waits until the slot is free (lossless).
    """

    def __init__(self, max_batch: int, gather_seconds: float = 0.01) -> None:
        self.max_batch = max_batch
        self._gather_seconds = gather_seconds
        self._pending: dict[str, Window] = {}
        self._taken: frozenset[str] = frozenset()
        self._changed = asyncio.Condition()
        self.sources = 0
        """How many sources deliver now; a batch of as many windows waits for no more."""

    async def offer(self, window: Window) -> bool:
        """Make this the source's pending window; return whether an older one was dropped for it."""
        async with self._changed:
            dropped = self._pending.pop(window.source, None) is not None
            self._pending[window.source] = window
            self._changed.notify_all()
        return dropped

    async def put(self, window: Window) -> None:
        """Make this the source's pending window once the one before has been taken."""
        async with self._changed:
            await self._changed.wait_for(lambda: window.source not in self._pending)
            self._pending[window.source] = window
            self._changed.notify_all()

    async def take(self) -> list[Window]:
        """Wait for windows and return them, at most one per source; `done` must follow."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._pending)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gather_seconds):
                    await self._changed.wait_for(self._is_full)
            batch = [self._pending.pop(source) for source in list(self._pending)[: self.max_batch]]
            self._taken = frozenset(window.source for window in batch)
            self._changed.notify_all()
        return batch

    def _is_full(self) -> bool:
        return len(self._pending) >= min(self.sources, self.max_batch)

    async def done(self) -> None:
        """Tell that the batch taken last has been scored and its events delivered."""
        async with self._changed:
            self._taken = frozenset()
            self._changed.notify_all()

    async def drain(self, source: str) -> None:
        """Wait until no window of the source is pending or being scored."""
        async with self._changed:
            await self._changed.wait_for(lambda: source not in self._pending and source not in self._taken)
