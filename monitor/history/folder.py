"""A folder of segments: what is in it, what is kept, and deleting."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.errors import in_words
from monitor.history.segment import EVENTS, ROWS, Segment, erase, file_of, read_kind, remove, size_of
from monitor.history.told import read_events
from monitor.history.values import HistoryError, Kind

HOUR_SECONDS = 3600
_NAME = "%Y%m%dT%H%M%S.%fZ"
_LOCK = ".lock"
_STILL_WRITTEN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment is, and what its name tells: `<folder>/<source>/<time of its first window>`."""

    stem: Path
    source: str
    began: float
    """Unix seconds; the segment's windows end within the hour of that."""

    @property
    def ends(self) -> float:
        """Before this, Unix seconds, all of it was heard."""
        return (self.began // HOUR_SECONDS + 1) * HOUR_SECONDS


def name_at(time: float) -> str:
    """Name a segment by the time of its first window."""
    return datetime.fromtimestamp(time, UTC).strftime(_NAME)


class Folder:
    """Blocking throughout; whoever writes to it meanwhile isn't disturbed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def places(
        self, since: float = -math.inf, until: float = math.inf, sources: Collection[str] | None = None
    ) -> list[Place]:
        """List the segments that may have something of a time in them, oldest first.

        Raises HistoryError where the folder can't be read.
        """
        found = []
        try:
            for folder in os.scandir(self.path):
                if folder.is_dir() and (sources is None or folder.name in sources):
                    found += [place for place in _in(folder) if place.ends > since and place.began < until]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HistoryError(f"{str(self.path)!r} can't be read: {in_words(error)}") from None
        return sorted(found, key=lambda place: (place.began, place.source))

    def segments(
        self, since: float = -math.inf, until: float = math.inf, sources: Collection[str] | None = None
    ) -> Iterator[Segment]:
        """Open those segments, oldest first, but for what can't be read."""
        for place in self.places(since, until, sources):
            segment = Segment.open(place.stem)
            if segment is not None:
                yield segment

    def count(
        self, since: float = -math.inf, until: float = math.inf, sources: Collection[str] | None = None
    ) -> int:
        """Count those segments."""
        return len(self.places(since, until, sources))

    def newest_kind(self) -> Kind:
        """Return what was heard last; raises HistoryError where nothing was."""
        for place in reversed(self.places()):
            kind = read_kind(place.stem)
            if kind is not None:
                return kind
        says = f"{str(self.path)!r} holds no history; set `history: {{}}` in the configuration, and listen"
        raise HistoryError(says)

    def events(
        self, since: float = -math.inf, until: float = math.inf, sources: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the last that was told of every occurrence that began in [since, until)."""
        told: dict[str, dict[str, Any]] = {}
        # An end stands where it was told, which may be hours after its start.
        for place in self.places(since, math.inf, sources):
            for event in read_events(file_of(place.stem, EVENTS)):
                if since <= event["started_at"] < until:
                    told[event["id"]] = event
        return sorted(told.values(), key=lambda event: float(event["started_at"]))

    def retain(self, *, since: float, max_bytes: float, writing: Collection[Path] = ()) -> list[Place]:
        """Delete what is older than a time, then the oldest until the rest fits; return what is gone.

        Segments that are being written to stay.
        """
        places = [place for place in self.places() if place.stem not in writing]
        gone = [place for place in places if place.ends <= since]
        kept = places[len(gone) :]
        total = sum(size_of(place.stem) for place in kept) + sum(map(size_of, writing))
        for place in kept:
            if total <= max_bytes:
                break
            total -= size_of(place.stem)
            gone.append(place)
        for place in gone:
            remove(place.stem)
        return gone

    def check_sources(self, wanted: Collection[str] | None) -> None:
        """Raise HistoryError where nothing is kept of one of them: its name may be misspelled."""
        kept = {place.source for place in self.places()}
        for name in wanted or ():
            if kept and name not in kept:
                raise HistoryError(
                    f"--source {name!r}: nothing of it is kept; there are {', '.join(sorted(kept))}"
                )

    def delete(self, before: float, now: float, sources: Collection[str] | None = None) -> tuple[int, int]:
        """Delete everything heard before a time; return the windows and the bytes that have gone.

        Segments go as a whole; the one that the time falls into, and any that may still be written to, are
        overwritten in place up to it.
        """
        windows = freed = 0
        for place in self.places(until=before, sources=sources):
            segment = Segment.open(place.stem)
            if place.ends <= min(before, now - _STILL_WRITTEN_SECONDS):
                freed += size_of(place.stem)
                windows += len(segment) if segment else 0
                remove(place.stem)
            elif segment is not None:
                windows += erase(place.stem, before)
        return windows, freed

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and be the only one that writes to it; raises HistoryError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self.path / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise HistoryError(f"{str(self.path)!r} can't be written: {in_words(error)}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            says = f"{str(self.path)!r} is being written by another process; end that, or name another folder"
            raise HistoryError(says) from None
        try:
            yield
        finally:
            os.close(file)


def _in(folder: os.DirEntry[str]) -> Iterator[Place]:
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder.path):
            if entry.name.endswith(ROWS) and (began := _began(entry.name.removesuffix(ROWS))) is not None:
                yield Place(Path(entry.path).with_suffix(""), folder.name, began)


def _began(name: str) -> float | None:
    try:
        return datetime.strptime(name, _NAME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
