"""Writing windows to the folder as they come: a segment by source and hour, synced, the oldest deleted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor.history.folder import HOUR_SECONDS, Folder, name_at
from monitor.history.segment import EVENTS, VECTORS, SegmentWriter, file_of
from monitor.history.told import append_event
from monitor.history.values import HalfArray, Kind, Rows

_SYNC_SECONDS = 30.0
_RETAIN_SECONDS = 300.0
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of several sources, embedded together; a row each."""

    kinds: Sequence[Kind]
    """What each row is of."""
    end_times: Sequence[float]
    levels_dbfs: Sequence[float]
    begins: Sequence[bool]
    embeddings: HalfArray

    def __len__(self) -> int:
        return len(self.kinds)


def by_kind(batches: Sequence[Batch]) -> dict[Kind, Rows]:
    """Sort windows by what they are of, each kind's in the order in which they came."""
    places: dict[Kind, list[tuple[Batch, int]]] = {}
    for batch in batches:
        for index, kind in enumerate(batch.kinds):
            places.setdefault(kind, []).append((batch, index))
    return {
        kind: Rows(
            np.array([batch.end_times[index] for batch, index in each], dtype=np.float64),
            np.array([batch.levels_dbfs[index] for batch, index in each], dtype=np.float64),
            np.array([batch.begins[index] for batch, index in each], dtype=bool),
            np.stack([batch.embeddings[index] for batch, index in each]),
        )
        for kind, each in places.items()
    }


class Writer:
    """Blocking, for one thread at a time; hold the folder's lock meanwhile."""

    def __init__(
        self,
        folder: Folder,
        keep_days: float,
        max_bytes: float,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._keep_seconds = keep_days * _DAY_SECONDS
        self._max_bytes = max_bytes
        self._clock = clock
        self._monotonic = monotonic
        self._open: dict[str, SegmentWriter] = {}
        self._synced_at = self._monotonic()
        self._retained_at: float | None = None

    def write(self, batches: Sequence[Batch], events: Sequence[Mapping[str, Any]]) -> None:
        """Append windows and events, then sync and delete what is due.

        Raises OSError; some of the windows may then be lost, and the next write begins new segments.
        """
        try:
            for kind, rows in by_kind(batches).items():
                self._append(kind, rows)
            for event in events:
                self._note(event)
            self._look_after()
        except OSError:
            self.close()
            raise

    def _append(self, kind: Kind, rows: Rows) -> None:
        hours = rows.end_times // HOUR_SECONDS
        seams = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(rows)]
        for first, last in itertools.pairwise(seams):
            self._segment(kind, float(rows.end_times[first])).append(rows.part(first, last))

    def _segment(self, kind: Kind, time: float) -> SegmentWriter:
        name = name_at(time)
        now = self._open.get(kind.source)
        if now is not None and now.kind == kind and _hour(now.stem.name) == _hour(name):
            return now
        if now is not None:
            self._end(now)
        folder = self._folder.path / kind.source
        folder.mkdir(mode=0o700, exist_ok=True)
        made = SegmentWriter(_free(folder, time), kind)
        self._open[kind.source] = made
        return made

    def _end(self, segment: SegmentWriter) -> None:
        del self._open[segment.kind.source]
        try:
            segment.sync()
        finally:
            segment.close()

    def _note(self, event: Mapping[str, Any]) -> None:
        """Put an event beside the segment that its source is writing."""
        segment = self._open.get(str(event["source"]))
        if segment is not None:
            append_event(file_of(segment.stem, EVENTS), event)

    def _look_after(self) -> None:
        now = self._monotonic()
        if now - self._synced_at >= _SYNC_SECONDS:
            this_hour = _hour(name_at(self._clock()))
            for segment in list(self._open.values()):
                # An open segment is never deleted, however long its source has been away.
                if segment.synced and _hour(segment.stem.name) < this_hour:
                    self._end(segment)
                else:
                    segment.sync()
            self._synced_at = now
        if self._retained_at is None or now - self._retained_at >= _RETAIN_SECONDS:
            self._folder.retain(
                since=self._clock() - self._keep_seconds,
                max_bytes=self._max_bytes,
                writing=[segment.stem for segment in self._open.values()],
            )
            self._retained_at = now

    def close(self) -> None:
        """Close the open segments; a later write begins new ones."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()


def _hour(name: str) -> str:
    return name[: len("20261122T18")]


def _free(folder: Path, time: float) -> Path:
    """Return a name for a new segment that isn't taken: the time's, or a millisecond later."""
    while file_of(stem := folder / name_at(time), VECTORS).exists():
        time += 0.001
    return stem
