"""Another configuration on what was heard: the scoring, smoothing and state machines that run live.

The history holds what the live path scored, embeddings in half precision, and a row for every window that was
decided on, quiet ones too: the same configuration gives the same events. What it can't know: switches and
reloads of that time, and windows that weren't scored then.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monitor.config import Config
from monitor.dating import Times
from monitor.detection import Detector
from monitor.evaluation.timeline import Timeline
from monitor.heads import Head
from monitor.history.segment import EVENTS, Segment, file_of
from monitor.history.told import read_events
from monitor.history.values import Kind, Rows
from monitor.past.query import Question
from monitor.types import Event, FloatArray, Phase, Reason, Scores

_BLOCK_WINDOWS = 512
_SAME_SECONDS = 1.0
"""Occurrences of an event that overlap, or miss each other by no more than this, are the same one."""

Told = Mapping[str, Any]
"""An event as the history has it: the fields that are published."""
_Span = tuple[str, float, float]


@dataclass(slots=True)
class Trial:
    """What a configuration makes of the history."""

    started: list[Event] = field(default_factory=list)
    occurrences: list[Event] = field(default_factory=list)
    """What ended, and so everything that began, in the order of their starts."""
    told: list[Told] = field(default_factory=list)
    """What was really told in that time, the newest that is known of each."""
    timelines: list[Timeline] = field(default_factory=list)
    """Of every unbroken stretch; Unix seconds."""
    windows: int = 0
    hours: float = 0.0
    foreign: dict[str, float] = field(default_factory=dict)
    """Hours that can't be tried, by what they are of."""
    unscored: int = 0
    """Windows that this configuration would score, but that weren't: too quiet, switched off, not due."""
    work_seconds: float = 0.0

    @property
    def minutes_per_second(self) -> float:
        """Minutes of history for a second of work."""
        return self.hours * 60.0 / max(self.work_seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Difference:
    """One event as it is now against what was told."""

    then: int
    """Occurrences that were told."""
    both: int
    """Occurrences now that were told then too."""
    only_now: tuple[Event, ...]
    only_then: tuple[Told, ...]


def backtest(
    segments: Iterable[Segment],
    config: Config,
    question: Question,
    *,
    since: float = -math.inf,
    until: float = math.inf,
    advance: Callable[[Segment], None] = lambda _: None,
) -> Trial:
    """Try a configuration on segments, oldest first; blocking. `question` is its head and its encoder."""
    began = time.perf_counter()
    config = config.model_copy(update={"clips": None})  # none are written, so no veto needs to hear all
    trial, told = Trial(), dict[str, Told]()
    runs: dict[str, _Run] = {}
    for segment in segments:
        kind = segment.kind
        if (obstacle := _obstacle(kind, config, question.encoder)) is not None:
            lasts = len(segment) * kind.hop_seconds / 3600
            trial.foreign[obstacle] = trial.foreign.get(obstacle, 0.0) + lasts
        else:
            if kind.source not in runs:
                runs[kind.source] = _Run(kind.source, config, question.head, trial)
            for rows in segment.blocks(_BLOCK_WINDOWS):
                runs[kind.source].take(rows.between(since, until))
            for event in read_events(file_of(segment.stem, EVENTS)):
                if since <= event["started_at"] < until:
                    told[event["id"]] = event
        advance(segment)
    for run in runs.values():
        run.end()
    trial.occurrences.sort(key=lambda event: (event.started_at, event.source, event.name))
    trial.told = sorted(told.values(), key=lambda event: float(event["started_at"]))
    trial.hours = trial.windows * config.windows.hop_seconds / 3600
    trial.work_seconds = time.perf_counter() - began
    return trial


def _obstacle(kind: Kind, config: Config, encoder: str) -> str | None:
    """Tell why a segment can't be tried; None where it can."""
    if kind.encoder != encoder:
        return f"encoder {kind.encoder}"
    if (kind.window_seconds, kind.hop_seconds) != (config.windows.window_seconds, config.windows.hop_seconds):
        return f"windows of {kind.window_seconds:g} s every {kind.hop_seconds:g} s"
    return None


class _Run:
    """One source's way through the configuration."""

    def __init__(self, source: str, config: Config, head: Head, trial: Trial) -> None:
        count = itertools.count(1)
        self._source = source
        self._head = head
        self._trial = trial
        self._window_seconds = config.windows.window_seconds
        self._detector = Detector(source, config, lambda: f"{source}-{next(count)}")
        self._quietest_dbfs = self._detector.quietest_dbfs
        self._deaf = np.array([not config.listens(source, name) for name in config.events])
        self._parts: list[tuple[Times, Times, FloatArray, FloatArray]] = []

    def take(self, rows: Rows) -> None:
        """Decide on windows, in the order in which they were heard."""
        seams = [0, *np.flatnonzero(rows.begins).tolist(), len(rows)]
        for first, last in itertools.pairwise(seams):
            if first < len(rows) and rows.begins[first]:
                self.end()
            if first < last:
                self._decide(rows.part(first, last))

    def _decide(self, rows: Rows) -> None:
        raw = self._head.score(rows.embeddings.astype(np.float32))
        smooth = np.empty_like(raw)
        times, levels = rows.end_times.tolist(), rows.levels_dbfs.tolist()
        for index, (end_time, level) in enumerate(zip(times, levels, strict=True)):
            scores = Scores(self._source, end_time - self._window_seconds, end_time, level, raw[index])
            self._note(self._detector.process(scores))
            smooth[index] = self._detector.smooth
        smooth[:, self._deaf] = np.nan
        self._parts.append((rows.end_times, rows.levels_dbfs, raw, smooth))
        audible = rows.levels_dbfs >= self._quietest_dbfs
        self._trial.windows += len(rows)
        self._trial.unscored += int((audible & ~np.any(rows.embeddings, axis=1)).sum())

    def end(self) -> None:
        """End the stretch, as when a source is lost."""
        if not self._parts:
            return
        self._note(self._detector.end_all(None, Reason.SOURCE_LOST))
        times, levels, raw, smooth = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        self._trial.timelines.append(Timeline(self._source, times, levels.astype(np.float32), raw, smooth))
        self._parts.clear()

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            kept = self._trial.started if event.phase is Phase.START else self._trial.occurrences
            kept.append(event)


def compare(name: str, trial: Trial) -> Difference:
    """Hold what is told of one event now against what was told then."""
    now = [event for event in trial.occurrences if event.name == name]
    then = [event for event in trial.told if event["event"] == name]
    spans_now = [(event.source, event.started_at, event.ended_at or event.started_at) for event in now]
    spans_then = [(str(event["source"]), float(event["started_at"]), _end_of(event)) for event in then]
    known, still = _met(spans_now, spans_then), _met(spans_then, spans_now)
    return Difference(
        then=len(then),
        both=sum(known),
        only_now=tuple(event for event, is_known in zip(now, known, strict=True) if not is_known),
        only_then=tuple(event for event, is_still in zip(then, still, strict=True) if not is_still),
    )


def _end_of(told: Told) -> float:
    return math.inf if told["ended_at"] is None else float(told["ended_at"])


def _met(spans: Sequence[_Span], others: Sequence[_Span]) -> list[bool]:
    """Tell of each span (source, start, end) whether it meets one of the others of its source."""
    by_source: dict[str, list[tuple[float, float]]] = {}
    for source, start, end in sorted(others, key=lambda span: span[1]):
        by_source.setdefault(source, []).append((start, end))
    starts = {source: np.array([start for start, _ in each]) for source, each in by_source.items()}
    latest = {source: np.maximum.accumulate([end for _, end in each]) for source, each in by_source.items()}
    met = []
    for source, start, end in spans:
        before = int(np.searchsorted(starts.get(source, np.zeros(0)), end + _SAME_SECONDS, side="right"))
        met.append(before > 0 and bool(latest[source][before - 1] >= start - _SAME_SECONDS))
    return met
