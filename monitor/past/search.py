"""The moments that sound most like a query, out of segments of windows.

The score of a moment is that of its best window: exactly what an event with these prompts, negatives and
examples would have scored there, before smoothing: against the background's phrases, 0 to 1. A moment lasts
while the score stays above the middle between its best and the median of everything searched; pauses of up to
`min_gap_seconds` don't end it, and the next moment of the same source is at least so far away.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.heads import Head
from monitor.history.segment import Segment
from monitor.past.query import Question
from monitor.types import FloatArray

_BLOCK_WINDOWS = 512


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of sound that answers a query."""

    source: str
    """The source's slug; of an index, the recording's path within the folder."""
    start_time: float
    """Unix seconds; of an index, seconds from the recording's beginning."""
    end_time: float
    peak_time: float
    """End of the window that scores best."""
    score: float
    """Of that window, 0 to 1."""
    level_dbfs: float
    """Of the moment's loudest hop."""
    events: tuple[str, ...] = ()
    """What was told meanwhile, by the events' names."""
    clip: str | None = None
    """A recording of it, where one of these events has one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of every window of one source, in the order of their times."""

    end_times: NDArray[np.float64]
    scores: FloatArray
    levels_dbfs: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a query."""

    moments: tuple[Moment, ...]
    """Best first."""
    windows: int
    """That were compared."""
    hours: float
    """Of sound that they stand for."""
    foreign: Mapping[str, float]
    """Hours of sound by encoders that the query's embedding can't be compared with."""
    scored: Mapping[str, Scored] = field(default_factory=dict)
    """Everything, by source: for pictures."""


def search(
    segments: Iterable[Segment],
    question: Question,
    *,
    top: int = 20,
    min_gap_seconds: float = 10.0,
    since: float = -math.inf,
    until: float = math.inf,
    advance: Callable[[Segment], None] = lambda _: None,
) -> Found:
    """Find the best moments in windows that end in [since, until); blocking, pure but for reading."""
    parts: dict[str, list[Scored]] = {}
    windows: dict[str, float] = {}
    foreign: dict[str, float] = {}
    hours = 0.0
    for segment in segments:
        kind = segment.kind
        if kind.encoder != question.encoder:
            lasts = segment.embedded * kind.hop_seconds / 3600
            foreign[kind.encoder] = foreign.get(kind.encoder, 0.0) + lasts
        else:
            scored = _scored(segment, question.head, since, until)
            parts.setdefault(kind.source, []).append(scored)
            windows[kind.source] = kind.window_seconds
            hours += len(scored) * kind.hop_seconds / 3600
        advance(segment)
    tracks = {source: _joined(each) for source, each in parts.items() if any(map(len, each))}
    moments = tuple(_best(tracks, windows, top, min_gap_seconds))
    return Found(moments, sum(map(len, tracks.values())), hours, foreign, tracks)


def _scored(segment: Segment, head: Head, since: float, until: float) -> Scored:
    times, scores, levels = [np.zeros(0)], [np.zeros(0, np.float32)], [np.zeros(0)]
    for rows in segment.blocks(_BLOCK_WINDOWS, quiet=False):
        part = rows.between(since, until)
        times.append(part.end_times)
        scores.append(head.score(part.embeddings.astype(np.float32))[:, 0])
        levels.append(part.levels_dbfs)
    return Scored(np.concatenate(times), np.concatenate(scores), np.concatenate(levels))


def _joined(parts: Sequence[Scored]) -> Scored:
    times = np.concatenate([part.end_times for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    levels = np.concatenate([part.levels_dbfs for part in parts])
    if (np.diff(times) < 0.0).any():  # the clock was set back
        order = np.argsort(times, kind="stable")
        times, scores, levels = times[order], scores[order], levels[order]
    return Scored(times, scores, levels)


def _best(
    tracks: Mapping[str, Scored], window_seconds: Mapping[str, float], top: int, min_gap_seconds: float
) -> Iterator[Moment]:
    """Take the best window of all, with what belongs to it, again and again."""
    if not tracks:
        return
    middle = float(np.median(np.concatenate([track.scores for track in tracks.values()])))
    free = {source: track.scores.copy() for source, track in tracks.items()}
    queue = [(-float(scores.max()), source) for source, scores in free.items()]
    heapq.heapify(queue)
    for _ in range(top):
        if not queue or queue[0][0] >= 0.0:
            return
        source = heapq.heappop(queue)[1]
        track, scores = tracks[source], free[source]
        peak = int(scores.argmax())
        first, last = _extent(track.end_times, scores, peak, middle, min_gap_seconds)
        begin, end = float(track.end_times[first]), float(track.end_times[last])
        start = begin - window_seconds[source]
        heard = slice(int(np.searchsorted(track.end_times, start, side="right")), last + 1)
        yield Moment(
            source,
            start,
            end,
            float(track.end_times[peak]),
            float(track.scores[peak]),
            float(track.levels_dbfs[heard].max()),
        )
        before, after = np.searchsorted(track.end_times, (begin - min_gap_seconds, end + min_gap_seconds))
        scores[before : max(after, last + 1)] = 0.0
        heapq.heappush(queue, (-float(scores.max()), source))


def _extent(
    times: NDArray[np.float64], scores: FloatArray, peak: int, middle: float, min_gap_seconds: float
) -> tuple[int, int]:
    """Return the first and the last window of the moment around a peak."""
    high = np.flatnonzero(scores >= min((scores[peak] + middle) / 2, scores[peak]))
    at = int(np.searchsorted(high, peak))
    breaks = np.flatnonzero(np.diff(times[high]) > min_gap_seconds)
    run = int(np.searchsorted(breaks, at))
    first = int(breaks[run - 1]) + 1 if run else 0
    last = int(breaks[run]) if run < len(breaks) else len(high) - 1
    return int(high[first]), int(high[last])


def with_events(found: Found, events: Iterable[Mapping[str, Any]], clips: Path | None = None) -> Found:
    """Add to every moment what was told meanwhile, and the recording of it.

    `events` are those of `Folder.events`; with `clips`, the folder that recordings lie in, only those that
    are still there.
    """
    of_source: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        of_source.setdefault(str(event["source"]), []).append(event)
    moments = []
    for moment in found.moments:
        told = [event for event in of_source.get(moment.source, ()) if _overlaps(event, moment)]
        recordings = [str(event["clip"]) for event in told if event.get("clip")]
        there = [name for name in recordings if clips is None or (clips / name).is_file()]
        names = tuple(dict.fromkeys(str(event["event"]) for event in told))
        moments.append(replace(moment, events=names, clip=there[0] if there else None))
    return replace(found, moments=tuple(moments))


def _overlaps(event: Mapping[str, Any], moment: Moment) -> bool:
    began = float(event["started_at"])
    ended = began if event["ended_at"] is None else float(event["ended_at"])
    return began <= moment.end_time and ended >= moment.start_time
