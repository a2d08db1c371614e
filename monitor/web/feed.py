"""The page's live stream: one rendering of the status for all clients, the newest one only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.status import EventRule, Status, to_json
from monitor.types import Event
from monitor.web.spectrograms import INTERVAL_SECONDS as COLUMNS_INTERVAL_SECONDS
from monitor.web.spectrograms import Watcher

INTERVAL_SECONDS = 0.5
_LARGEST_SHARE = 0.05
"""Of a core, for snapshots and rendering: with very many sources the page gets slower, not the sound."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a status that only a reload changes."""

    windows: str
    events: tuple[EventRule, ...]
    stored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One state of the stream, as server-sent events."""

    live: bytes
    """What changes all the time."""
    settings: bytes
    """The same object for as long as it doesn't change, as is the next."""
    recent: bytes
    """The last starts and ends."""


class Feed:
    """Renders the status when somebody asks and the last frame is old; nobody waits, nothing queues."""

    def __init__(self, status: Callable[[], Status], clock: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._clock = clock
        self._frame = Frame(b"", b"", b"")
        self._settings: Settings | None = None
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
        settings, recent = self._frame.settings, self._frame.recent
        now = Settings(status.windows, status.events, status.stored)
        if now != self._settings:
            self._settings = now
            settings = _message("settings", now)
        if status.recent != self._events:
            self._events = status.recent
            recent = _message("recent", status.recent)
        live = replace(status, windows="", events=(), stored=(), recent=())
        # In a thread: a thousand sources take 40 ms and more, too long for the event loop.
        return Frame(await asyncio.to_thread(_message, "status", live), settings, recent)


class Stream:
    """One client's view of the feed, and of the spectrograms that it watches."""

    def __init__(self, feed: Feed, watcher: Watcher | None = None) -> None:
        self._feed = feed
        self._watcher = watcher if watcher is not None and watcher.watches else None
        self._frame: Frame | None = None

    @property
    def interval_seconds(self) -> float:
        """How long to wait after a message before asking for the next."""
        return self._feed.interval_seconds if self._watcher is None else COLUMNS_INTERVAL_SECONDS

    async def next(self) -> bytes:
        """Return what this client should get now; often nothing where it watches spectrograms."""
        columns = b"" if self._watcher is None else await self._watcher.next()
        last, frame = self._frame, await self._feed.newest()
        if frame is last:
            return columns
        self._frame = frame
        settings = b"" if last and last.settings is frame.settings else frame.settings
        recent = b"" if last and last.recent is frame.recent else frame.recent
        return settings + recent + frame.live + columns


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
