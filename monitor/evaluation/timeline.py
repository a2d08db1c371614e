"""What the pipeline heard, window by window: kept once, decided on as often as wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monitor.activity import ActivityMachine, Ended, Rule, Started
from monitor.config import Config, EventConfig
from monitor.dating import Dater, Times, past_windows
from monitor.types import Activity, Event, FloatArray, Phase, Scores


@dataclass(frozen=True, slots=True)
class Alert:
    """A start that was published."""

    event: str
    started_at: float
    """Seconds, as the event says."""
    decided_at: float
    """Seconds: end of the window whose score decided, the earliest moment for anyone to hear of it."""
    ended_at: float | None = None
    """Seconds; None while it lasts."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The scores of an unbroken stretch of sound; times in seconds from its beginning."""

    source: str
    end_times: Times
    """Shape (windows,)."""
    levels_dbfs: FloatArray
    """Shape (windows,)."""
    raw: FloatArray
    """Shape (windows, events): as scored, before level gate and smoothing."""
    smooth: FloatArray
    """Shape (windows, events): what was decided on; NaN where the source doesn't listen for the event."""

    def of(self, event: int) -> tuple[Times, FloatArray]:
        """Return the end times and the smoothed scores of one event."""
        return self.end_times, self.smooth[:, event]

    def part(self, first: int, last: int) -> Timeline:
        """Take windows first to last - 1; the smoothing's past stays in them."""
        return Timeline(
            self.source,
            self.end_times[first:last],
            self.levels_dbfs[first:last],
            self.raw[first:last],
            self.smooth[first:last],
        )


def rule_at(event: EventConfig, on_threshold: float) -> Rule:
    """Return an event's rule with another on-threshold, and the off-threshold in proportion."""
    ratio = event.off / event.on_threshold if event.on_threshold > 0.0 else 1.0
    return replace(Rule.of(event), on_threshold=on_threshold, off_threshold=ratio * on_threshold)


def local_peaks(smooth: FloatArray, reach: int = 1) -> FloatArray:
    """Return the values that none of so many neighbours in time exceeds, of all events, shape (peaks,)."""
    if not len(smooth):
        return smooth.reshape(-1)
    padded = np.pad(smooth, ((reach, reach), (0, 0)), constant_values=-1.0)
    highest = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=0).max(axis=-1)
    before, after = highest[: len(smooth)], highest[reach + 1 :]
    peaks: FloatArray = smooth[(smooth > before) & (smooth >= after)]
    return peaks


def changes(rule: Rule, end_times: Times, smooth: FloatArray) -> Iterator[tuple[int, Started | Ended]]:
    """Yield what a rule makes of one event's smoothed scores, each with the window that decided."""
    machine = ActivityMachine(rule)
    above = np.flatnonzero(smooth >= np.float32(rule.on_threshold))
    index = 0
    while True:
        if machine.idle:
            # Below on, an idle machine stays as it is.
            following = np.searchsorted(above, index)
            if following == len(above):
                return
            index = int(above[following])
        elif index == len(smooth):
            return
        change = machine.process(float(end_times[index]), float(smooth[index]))
        if change is not None:
            yield index, change
        index += 1


def decide(config: Config, event: str, timeline: Timeline, on_threshold: float) -> list[Alert]:
    """Return the alerts of one event under another on-threshold, the off-threshold in proportion."""
    column = list(config.events).index(event)
    end_times, smooth = timeline.of(column)
    scores = np.where(timeline.levels_dbfs >= config.gate_of(event), timeline.raw[:, column], np.float32(0))
    rule = rule_at(config.events[event], on_threshold)
    dater = Dater(config, event, on_threshold)
    alerts: list[Alert] = []
    for index, decided in changes(rule, end_times, smooth):
        first = max(index + 1 - past_windows(config.windows.hop_seconds), 0)
        change = dater.date(decided, end_times[first : index + 1], scores[first : index + 1])
        if isinstance(change, Started):
            alerts.append(Alert(event, change.started_at, float(end_times[index])))
        else:
            alerts[-1] = replace(alerts[-1], ended_at=change.ended_at)
    return alerts


class Alerts:
    """Gathers starts with their ends."""

    def __init__(self) -> None:
        self._by_id: dict[str, Alert] = {}

    def add(self, event: Event, now: float) -> None:
        """Take a start or an end that was decided at `now`."""
        if event.phase is Phase.START:
            self._by_id[event.id] = Alert(event.name, event.started_at, now)
        else:
            self._by_id[event.id] = replace(self._by_id[event.id], ended_at=event.ended_at)

    def list(self) -> list[Alert]:
        """All, in the order in which they were decided."""
        return list(self._by_id.values())


class Track:
    """Builds one timeline, a window at a time, and the alerts that came with it."""

    def __init__(self, source: str, events: Sequence[str]) -> None:
        self._source = source
        self._index = {name: index for index, name in enumerate(events)}
        self._times: list[float] = []
        self._levels: list[float] = []
        self._raw: list[FloatArray] = []
        self._smooth: list[FloatArray] = []
        self.alerts = Alerts()

    def __len__(self) -> int:
        return len(self._times)

    def event(self, event: Event) -> None:
        """Take what was decided with the newest window."""
        self.alerts.add(event, self._times[-1] if self._times else event.started_at)

    def scores(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Take a window's scores."""
        smooth = np.full(len(self._index), np.nan, dtype=np.float32)
        for activity in activities:
            smooth[self._index[activity.event]] = activity.smooth
        self._times.append(scores.end_time)
        self._levels.append(scores.level_dbfs)
        self._raw.append(scores.values)
        self._smooth.append(smooth)

    def timeline(self) -> Timeline:
        """Return what was taken so far."""
        shape = (len(self), len(self._index))
        return Timeline(
            self._source,
            np.array(self._times, dtype=np.float64),
            np.array(self._levels, dtype=np.float32),
            np.array(self._raw, dtype=np.float32).reshape(shape),
            np.array(self._smooth, dtype=np.float32).reshape(shape),
        )


class Recorder:
    """An observer of replays that keeps everything."""

    def __init__(self, events: Sequence[str]) -> None:
        self._events = events
        self._tracks: dict[Path, Track] = {}

    def event(self, file: Path, event: Event) -> None:
        """Keep a start or an end."""
        self._of(file).event(event)

    def scores(self, file: Path, scores: Scores, activities: Sequence[Activity]) -> None:
        """Keep a window's scores."""
        self._of(file).scores(scores, activities)

    def _of(self, file: Path) -> Track:
        if file not in self._tracks:
            self._tracks[file] = Track(str(file), self._events)
        return self._tracks[file]

    def heard(self, files: Sequence[Path]) -> Mapping[Path, tuple[Timeline, list[Alert]]]:
        """Return the timeline and the alerts of each file; empty ones where it is shorter than a window."""
        return {file: (self._of(file).timeline(), self._of(file).alerts.list()) for file in files}
