"""The page's live stream: one rendering of the status for all clients, the newest one only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.status import Status, to_json
from monitor.types import Event

INTERVAL_SECONDS = 0.5
_LARGEST_SHARE = 0.05
"""Of a core, for snapshots and rendering: with very many sources the page gets slower, not the sound."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One state of the stream, as server-sent events."""

    live: bytes
    """Everything but the recent events."""
    recent: bytes
    """The recent events: the same object for as long as they don't change."""


class Feed:
    """Renders the status when somebody asks and the last frame is old; nobody waits, nothing queues."""

    def __init__(self, status: Callable[[], Status], clock: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._clock = clock
        self._frame = Frame(b"", b"")
        self._events: tuple[Event, ...] | None = None
        self._taken_at = float("-inf")
        self._rendering = asyncio.Lock()
        self.interval_seconds = INTERVAL_SECONDS
        """How long a frame is the newest."""

    async def newest(self) -> Frame:
        """Return the frame in force, shared by all who ask within the interval."""
        async with self._rendering:
            began = self._clock()
            # A client that wakes a little early must not get the old frame and wait a whole interval again.
            if began - self._taken_at >= 0.9 * self.interval_seconds:
                self._frame = await self._render(self._status())
                self._taken_at = self._clock()
                self.interval_seconds = max(INTERVAL_SECONDS, (self._taken_at - began) / _LARGEST_SHARE)
            return self._frame

    async def _render(self, status: Status) -> Frame:
        recent = self._frame.recent
        if status.recent != self._events:
            self._events = status.recent
            recent = _message("recent", status.recent)
        # In a thread: a thousand sources take 40 ms and more, too long for the event loop.
        return Frame(await asyncio.to_thread(_message, "status", replace(status, recent=())), recent)


class Stream:
    """One client's view of the feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._recent: bytes | None = None

    async def next(self) -> bytes:
        """Return what this client should get now."""
        frame = await self._feed.newest()
        if frame.recent is self._recent:
            return frame.live
        self._recent = frame.recent
        return frame.recent + frame.live


async def wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `stop` at most so long; return whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


def _message(kind: str, value: object) -> bytes:
    return f"event: {kind}\ndata: {to_json(value)}\n\n".encode()
