"""Events that wait for the broker: once `put` has returned, neither a crash nor a power cut loses them.

What has begun and not ended is noted beside them, so that the next process can tell the ends that a crash
kept this one from telling.

Every `put` is one fsync (a millisecond on an SSD, some ten on an SD card), little for events that people are
told of. All of it runs in one thread of its own; the event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

from monitor.errors import SinkError
from monitor.outbox.file import EventFile, Lasting, Waiting
from monitor.types import Event, Phase, Reason

__all__ = ["Backlog", "Outbox", "Waiting", "steady_clock"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_NOTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits."""

    pending: int = 0
    """Events, those in memory included."""
    oldest_time: float | None = None
    """Unix seconds at which the oldest was put."""
    unsaved: int = 0
    """Events that only memory holds, because the disk refuses them."""


def steady_clock() -> Callable[[], float]:
    """Return Unix seconds that go on evenly when the wall clock is set: a jump must not age events away."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class Outbox:
    """Keeps events in order until they are acknowledged; an async context manager for one event loop.

    Every change is made in memory first (`_unsaved`, `_acked`, `_lasting`, `_over`) and then written as one
    transaction, so that a refused transaction is simply tried again later.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_events: int = 100_000,
        max_age_seconds: float = 7 * 86_400.0,
        max_unsaved: int = 1_000,
        retry_seconds: float = 5.0,
        clock: Callable[[], float] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`max_unsaved` bounds memory while the disk refuses; `retry_seconds` paces the retries.

        `clock` ages what waits, `wall_clock` dates what lasts: that is told, in the time of the events.
        """
        self._path = path
        self._file = EventFile(path)
        self._max_events = max_events
        self._max_age_seconds = max_age_seconds
        self._max_unsaved = max_unsaved
        self._retry_seconds = retry_seconds
        self._clock = clock or steady_clock()
        self._wall_clock = wall_clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self._retrying: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        # From here on the thread's own; the event loop only reads `_backlog`, `_dropped` and `_failing`.
        self._last_id = 0
        self._unsaved: deque[Waiting] = deque()
        self._acked: set[int] = set()
        self._lasting: dict[str, Lasting] = {}
        self._over: set[str] = set()
        self._cut_short: tuple[Lasting, ...] = ()
        self._dropped = {"age": 0, "count": 0, "disk": 0, "unreadable": 0}
        self._dropping = False
        self._failing = False
        self._backlog = Backlog()

    async def __aenter__(self) -> Self:
        """Open the file; raises SinkError when another process has it or it may not be written."""
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self._noting = asyncio.create_task(self._note_what_lasts(), name="outbox-note")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._retrying, self._noting):
            if task:
                task.cancel()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def put(self, event: Event) -> None:
        """Write an event durably; while the disk refuses, hold it in memory, say so, and write it later."""
        await self._run(lambda: self._put(event))

    async def peek(self, limit: int) -> list[Waiting]:
        """Return the oldest events, at most `limit`, and leave them where they are."""
        return await self._run(lambda: self._peek(limit))

    async def ack(self, ids: Collection[int]) -> None:
        """Remove events that the broker has acknowledged."""
        await self._run(lambda: self._ack(ids))

    @property
    def cut_short(self) -> list[Event]:
        """Ends of what lasted when the last process died, for this one to put."""
        return [
            replace(
                each.start,
                phase=Phase.END,
                ended_at=max(each.start.started_at, each.seen_at),
                reason=Reason.RESTART,
            )
            for each in self._cut_short
        ]

    @property
    def backlog(self) -> Backlog:
        """What waits now."""
        return self._backlog

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events given up since opening: too old, too many, disk and memory full, not readable."""
        return MappingProxyType(self._dropped)

    async def _run(self, call: Callable[[], _T]) -> _T:
        # A cancelled caller leaves its call running in the thread; the next one queues behind it.
        result = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        if self._failing and (self._retrying is None or self._retrying.done()):
            self._retrying = asyncio.create_task(self._retry(), name="outbox-retry")
        return result

    async def _retry(self) -> None:
        while self._failing:
            await asyncio.sleep(self._retry_seconds)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._save)

    async def _note_what_lasts(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            await self._run(self._note)

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file.open()
            self._lasting = dict(self._file.lasting)
        except OSError as error:
            raise SinkError(self._forbidden(error.strerror or str(error))) from None
        except sqlite3.Error as error:
            code = _primary_code(error)
            if code in _LOCKED:
                raise SinkError(
                    f"outbox {self._path}: another process has it open, perhaps a second sound-monitor; "
                    "stop that one or set outbox.path"
                ) from None
            if code not in _DAMAGED + _DISK:
                raise SinkError(self._forbidden(str(error))) from None
            self._cope(error)
        # A file that can't be read yet may hold ids too; no count of events reaches that of milliseconds.
        self._last_id = max(self._file.last_id, int(time.time() * 1000))
        self._cut_short = tuple(self._lasting.values())
        self._look()

    def _close(self) -> None:
        if self._unsaved or self._acked or self._over:
            self._save()
        if self._unsaved:
            _log.error(
                "outbox %s: %d events were only in memory and are lost", self._path, len(self._unsaved)
            )
        self._file.close()

    def _put(self, event: Event) -> None:
        self._last_id += 1
        self._unsaved.append(Waiting(self._last_id, self._clock(), event))
        if event.phase is Phase.START:
            self._lasting[event.id] = Lasting(event, self._wall_clock())
        else:
            self._lasting.pop(event.id, None)
            self._over.add(event.id)
        self._changed()

    def _note(self) -> None:
        if self._lasting:
            now = self._wall_clock()
            self._lasting = {id_: replace(each, seen_at=now) for id_, each in self._lasting.items()}
            self._changed()

    def _ack(self, ids: Collection[int]) -> None:
        in_memory = {row.id for row in self._unsaved}.intersection(ids)
        self._unsaved = deque(row for row in self._unsaved if row.id not in in_memory)
        self._acked |= set(ids) - in_memory
        self._changed()

    def _changed(self) -> None:
        if not self._failing:
            self._save()
        while len(self._unsaved) > self._max_unsaved:
            self._unsaved.popleft()
            self._dropped["disk"] += 1
        self._look()

    def _peek(self, limit: int) -> list[Waiting]:
        oldest = self._backlog.oldest_time
        if oldest is not None and oldest < self._expired_before():
            self._save()
        waiting, unreadable = self._read(limit)
        if unreadable:
            _log.error("outbox %s: %d events can't be read and are dropped", self._path, len(unreadable))
            self._dropped["unreadable"] += len(unreadable)
            self._ack(unreadable)
        return waiting + list(self._unsaved)[: limit - len(waiting)]

    def _read(self, limit: int) -> tuple[list[Waiting], list[int]]:
        for _ in range(2):  # damage that shows now has a new file to read at the second try
            try:
                return self._file.read(limit, self._acked)
            except (sqlite3.Error, SinkError) as error:
                self._cope(error)
        return [], []

    def _save(self) -> None:
        try:
            aged, excess = self._file.write(
                self._unsaved,
                self._acked,
                self._lasting,
                self._over,
                self._expired_before(),
                self._max_events,
            )
        except (sqlite3.Error, SinkError) as error:
            self._cope(error)
            return
        self._unsaved.clear()
        self._acked.clear()
        self._over.clear()
        if self._failing:
            _log.info("outbox %s: written again, nothing waits in memory only", self._path)
        self._failing = False
        if aged or excess:
            self._dropped["age"] += aged
            self._dropped["count"] += excess
            _log.log(
                logging.DEBUG if self._dropping else logging.WARNING,
                "outbox %s: the oldest %d events are dropped (limits: %d events, %.1f days)",
                *(self._path, aged + excess, self._max_events, self._max_age_seconds / 86_400.0),
            )
        self._dropping = bool(aged or excess)
        self._look()

    def _cope(self, error: sqlite3.Error | SinkError) -> None:
        """Replace a damaged file; for any other error go on in memory."""
        if _primary_code(error) in _DAMAGED and not self._failing:
            self._failing = True  # a new file that is damaged too isn't replaced again
            try:
                events, lasting = self._file.start_anew(str(error))
            except (OSError, sqlite3.Error, SinkError) as again:
                _log.error("outbox %s can't be replaced: %s", self._path, again)
                return
            self._unsaved.extendleft(row for row in reversed(events) if row.id not in self._acked)
            self._acked.clear()
            self._lasting = {
                id_: each for id_, each in lasting.items() if id_ not in self._over
            } | self._lasting
            self._save()
            return
        _log.log(
            logging.DEBUG if self._failing else logging.ERROR,
            "outbox %s: %s; up to %d events wait in memory until the disk takes them",
            *(self._path, error, self._max_unsaved),
        )
        self._failing = True
        if _primary_code(error) != sqlite3.SQLITE_FULL:
            self._file.close()

    def _look(self) -> None:
        saved = max(0, self._file.count - len(self._acked))
        oldest = self._file.oldest_time if saved else self._unsaved[0].put_time if self._unsaved else None
        self._backlog = Backlog(saved + len(self._unsaved), oldest, len(self._unsaved))

    def _expired_before(self) -> float:
        return self._clock() - self._max_age_seconds

    def _forbidden(self, cause: str) -> str:
        return (
            f"outbox {self._path}: {cause}; let this user write to {self._path.parent} or set state_directory"
        )


def _primary_code(error: sqlite3.Error | SinkError) -> int:
    code = getattr(error, "sqlite_errorcode", 0)
    return int(code) & 0xFF
