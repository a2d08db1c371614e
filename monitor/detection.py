"""One source's path from scores to events: level gate, smoothing, state machines, dates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from monitor.activity import ActivityMachine, Ended, Rule, Started
from monitor.config import Config
from monitor.dating import Dater, Past
from monitor.levels import level_score
from monitor.schedule import Schedule
from monitor.smoothing import Smoother
from monitor.switches import Switches
from monitor.types import Activity, Event, FloatArray, Phase, Reason, Scores

_SET_BACK_SECONDS = 5.0
"""Times that go back further are a clock's that was set; what ended by the old one holds nothing up."""


class Detector:
    """Pure: fed with scores, it returns events; times are those of the scores."""

    def __init__(self, source: str, config: Config, new_id: Callable[[], str]) -> None:
        self._source = source
        self._config = config
        self._new_id = new_id
        self._names = tuple(config.events)
        self._listens = np.array([config.listens(source, name) for name in self._names])
        self._judged = config.judges(source)
        self._switches = Switches()
        self._switched_on = np.ones(len(self._names), dtype=bool)
        self._schedules = [
            (index, Schedule(event.schedule))
            for index, event in enumerate(config.events.values())
            if event.schedule
        ]
        self._due = np.ones(len(self._names), dtype=bool)
        self._detects = self._listens
        self._is_level = np.array([event.level is not None for event in config.events.values()])
        self._gates = np.array([config.gate_of(name) for name in self._names])
        self._on = np.array([event.on_threshold for event in config.events.values()], dtype=np.float32)
        self._smoother = Smoother(
            [config.smoothing_of(name) for name in self._names], config.windows.hop_seconds
        )
        self._machines = [ActivityMachine(Rule.of(event)) for event in config.events.values()]
        self._daters = [Dater(config, name) for name in self._names]
        self._past = Past(len(self._names), config.windows.hop_seconds)
        self._ids: dict[int, str] = {}
        self._raw = np.zeros(len(self._names), dtype=np.float32)
        self._smooth = np.zeros(len(self._names), dtype=np.float32)
        self._last_time: float | None = None
        self._newest = -math.inf

    @property
    def quietest_dbfs(self) -> float:
        """The level below which the model need not hear this source."""
        if self._judged and self._detects.any():
            return -math.inf
        return float(self._gates[self._detects & ~self._is_level].min(initial=0.0))

    @property
    def smooth(self) -> FloatArray:
        """What the newest scores were smoothed to, shape (events,)."""
        return self._smooth

    def process(self, scores: Scores) -> list[Event]:
        """Take the newest scores and return what began or ended with them."""
        if scores.end_time < self._newest - _SET_BACK_SECONDS:
            return [*self._begin_anew(), *self.process(scores)]
        self._newest = scores.end_time
        elapsed = None if self._last_time is None else scores.end_time - self._last_time
        self._last_time = scores.end_time
        events = self._keep_hours(scores.end_time)
        values = np.where(self._is_level, level_score(scores.level_dbfs), scores.values)
        self._raw = np.where(self._detects & (scores.level_dbfs >= self._gates), values, 0.0).astype(
            np.float32
        )
        self._smooth = self._smoother.update(self._raw, elapsed)
        self._past.add(scores.end_time, self._raw)
        for index, machine in enumerate(self._machines):
            if machine.idle and self._smooth[index] < self._on[index]:
                continue
            change = machine.process(scores.end_time, float(self._smooth[index]))
            if change is not None:
                events.append(self._event(index, change))
        return events

    def _begin_anew(self) -> list[Event]:
        events = self.end_all(None, Reason.SOURCE_LOST)
        for machine, dater in zip(self._machines, self._daters, strict=True):
            machine.forget()
            dater.forget()
        self._newest = -math.inf
        return events

    def switch(self, switches: Switches) -> list[Event]:
        """Detect what is switched on from now on, and nothing else; end what is no longer detected."""
        self._switches = switches
        self._switched_on = np.array([switches.detects(self._source, name) for name in self._names])
        return self._choose(Reason.DISABLED)

    def _keep_hours(self, time: float) -> list[Event]:
        """Detect what this time is in the schedule of; end the rest."""
        due = self._due.copy()
        for index, schedule in self._schedules:
            due[index] = schedule.includes(time)
        if np.array_equal(due, self._due):
            return []
        self._due = due
        return self._choose(Reason.SCHEDULE)

    def _choose(self, reason: Reason) -> list[Event]:
        """Detect what is listened for, switched on and due; end what isn't, and forget its past."""
        self._detects = self._listens & self._switched_on & self._due
        events = []
        for index, detects in enumerate(self._detects):
            if detects:
                continue
            self._smoother.forget(index)
            self._raw[index] = self._smooth[index] = 0.0
            change = self._machines[index].end(self._last_time or 0.0, reason)
            if change is not None:
                events.append(self._event(index, change))
        return events

    def end_all(self, time: float | None, reason: Reason) -> list[Event]:
        """End what is active, at `time` or at the last score's, and forget the past."""
        at = time if time is not None else self._last_time or 0.0
        ended = [(index, machine.end(at, reason)) for index, machine in enumerate(self._machines)]
        self._smoother.reset()
        self._past.forget()
        self._raw[:] = 0.0
        self._smooth[:] = 0.0
        self._last_time = None
        return [self._event(index, change) for index, change in ended if change is not None]

    def succeed(self, previous: Detector) -> list[Event]:
        """Go on from the detector of an older configuration; end what is no longer listened for as it was.

        An event whose rules and words are unchanged keeps its occurrence, id and smoothed score.
        """
        events, kept = [], []
        old_index = {name: index for index, name in enumerate(previous._names)}
        for name, index in old_index.items():
            machine = previous._machines[index]
            if name in self._names and self._same(previous, name):
                own = self._names.index(name)
                kept.append((own, index))
                self._machines[own] = machine
                self._daters[own] = previous._daters[index]
                self._smoother.adopt(own, previous._smoother, index)
                self._raw[own] = previous._raw[index]
                self._smooth[own] = previous._smooth[index]
                if index in previous._ids:
                    self._ids[own] = previous._ids[index]
            else:
                change = machine.end(previous._last_time or 0.0, Reason.RELOAD)
                if change is not None:
                    events.append(previous._event(index, change))
                if name in self._names:
                    self._daters[self._names.index(name)].follow(previous._daters[index])
        if kept:
            self._past.adopt(previous._past, kept)
        self._last_time, self._newest = previous._last_time, previous._newest
        return events

    def _same(self, previous: Detector, name: str) -> bool:
        before, now = previous._config, self._config
        return (
            before.events[name] == now.events[name]
            and before.smoothing_of(name) == now.smoothing_of(name)
            and before.windows == now.windows
        )

    def activities(self) -> list[Activity]:
        """Describe every event that is listened for on this source, in the configuration's order."""
        return [
            Activity(
                source=self._source,
                event=name,
                raw=float(self._raw[index]),
                smooth=float(self._smooth[index]),
                active=self._machines[index].active,
                since=self._daters[index].started_at,
                enabled=self._switches.on(self._source, name),
            )
            for index, name in enumerate(self._names)
            if self._listens[index]
        ]

    def _event(self, index: int, decided: Started | Ended) -> Event:
        change = self._daters[index].date(decided, *self._past.of(index))
        threshold = float(self._config.events[self._names[index]].on_threshold)
        if isinstance(change, Started):
            self._ids[index] = self._new_id()
            return Event(
                id=self._ids[index],
                source=self._source,
                name=self._names[index],
                phase=Phase.START,
                started_at=change.started_at,
                ended_at=None,
                peak_score=change.score,
                threshold=threshold,
                reason=Reason.THRESHOLD,
            )
        return Event(
            id=self._ids.pop(index),
            source=self._source,
            name=self._names[index],
            phase=Phase.END,
            started_at=change.started_at,
            ended_at=change.ended_at,
            peak_score=change.peak_score,
            threshold=threshold,
            reason=change.reason,
        )
