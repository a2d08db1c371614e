"""When a sound began and ended, by its own scores; when to tell of it is for the rules to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.activity import Ended, Started
from monitor.config import Config
from monitor.types import FloatArray, Reason

Times = NDArray[np.float64]

PAST_SECONDS = 15.0
"""How far back an end is looked for; a sound that went silent earlier has ended that long ago."""
# Measured on sounds of known times (training/SCORING.md): the score is at half the threshold an eighth of a
# window after the onset or later, and half a window after the offset. So dates err late, hardly ever early.
_OF_THRESHOLD = 0.5
_ONSET_WINDOWS = 1 / 8
_OFFSET_WINDOWS = 1 / 2
# Beyond it, a score that was always at half the threshold says nothing about the sound that was told.
_FURTHEST_WINDOWS = 2.0
# Like the state machine's: rounding of floating-point seconds, nothing else.
_SLACK_SECONDS = 1e-3


def past_windows(hop_seconds: float) -> int:
    """How many windows are looked back on."""
    return int(PAST_SECONDS / hop_seconds) + 2


class Past:
    """The scores of the last windows of one source, after the level gate and before smoothing."""

    def __init__(self, events: int, hop_seconds: float) -> None:
        self._times = np.full(past_windows(hop_seconds), -np.inf)
        self._scores = np.zeros((len(self._times), events), dtype=np.float32)
        self._next = 0

    def add(self, time: float, scores: FloatArray) -> None:
        """Keep the scores, shape (events,), of the window that ends at `time` in seconds."""
        self._times[self._next] = time
        self._scores[self._next] = scores
        self._next = (self._next + 1) % len(self._times)

    def of(self, event: int) -> tuple[Times, FloatArray]:
        """Return the windows' ends and one event's scores, oldest first."""
        order = np.roll(np.arange(len(self._times)), -self._next)
        order = order[np.isfinite(self._times[order])]
        return self._times[order], self._scores[order, event]

    def adopt(self, other: Past, events: Sequence[tuple[int, int]]) -> None:
        """Take over the past of (own, other's) events; both must have the same hop."""
        self._times, self._next = other._times.copy(), other._next
        for own, others in events:
            self._scores[:, own] = other._scores[:, others]

    def forget(self) -> None:
        """Forget everything, as after a gap."""
        self._times[:] = -np.inf


class Dater:
    """Puts the dates of one event of one source right; occurrences stay in order and apart.

    A level is that of the newest hop alone: its events began and ended when they were told.
    """

    __slots__ = (
        "_by_scores",
        "_cooldown_seconds",
        "_free_from",
        "_level",
        "_most_windows",
        "_started_at",
        "_window_seconds",
    )

    def __init__(self, config: Config, event: str, on_threshold: float | None = None) -> None:
        rules = config.events[event]
        self._by_scores = rules.level is None
        self._level = _OF_THRESHOLD * (rules.on_threshold if on_threshold is None else on_threshold)
        self._cooldown_seconds = rules.cooldown_seconds
        self._window_seconds = config.windows.window_seconds
        self._most_windows = past_windows(config.windows.hop_seconds)
        self._started_at: float | None = None
        self._free_from = -np.inf

    @property
    def started_at(self) -> float | None:
        """When the occurrence began that hasn't ended yet."""
        return self._started_at

    def date(self, change: Started | Ended, end_times: Times, scores: FloatArray) -> Started | Ended:
        """Return the change with its times put right, by the event's scores up to now, oldest first."""
        if isinstance(change, Started):
            began = change.started_at
            if self._by_scores:
                began = self._onset(end_times, scores, began)
            self._started_at = max(began, self._free_from)
            return replace(change, started_at=self._started_at)
        started_at = change.started_at if self._started_at is None else self._started_at
        ended_at = change.ended_at
        if self._by_scores and change.reason is Reason.THRESHOLD:
            ended_at = self._offset(end_times, scores, ended_at)
        ended_at = max(ended_at, started_at)
        self._started_at, self._free_from = None, ended_at + self._cooldown_seconds
        return replace(change, started_at=started_at, ended_at=ended_at)

    def follow(self, previous: Dater) -> None:
        """Date no beginning before the end of the last occurrence under rules that held before."""
        self._free_from = previous._free_from - previous._cooldown_seconds

    def forget(self) -> None:
        """Begin anew, as if nothing had ever been told."""
        self._started_at, self._free_from = None, -np.inf

    def _onset(self, end_times: Times, scores: FloatArray, told: float) -> float:
        """Find the last rise through the level up to `told`; without one, the sound was always there.

        Fewer windows than the past holds are all that there were: a sound in the first was there from its
        beginning, as far as anyone can tell.
        """
        furthest = told - _FURTHEST_WINDOWS * self._window_seconds
        near = (end_times >= furthest) & (end_times <= told + _SLACK_SECONDS)
        end_times, above = end_times[near], scores[near] >= self._level
        lead = _ONSET_WINDOWS * self._window_seconds
        if not above.any():
            return told - lead
        last = int(np.flatnonzero(above)[-1])
        below = np.flatnonzero(~above[:last])
        if not len(below):
            first_of_all = near[0] and len(near) < self._most_windows
            return float(end_times[0]) - (self._window_seconds if first_of_all else lead)
        return self._crossing(end_times, scores[near], int(below[-1])) - lead

    def _offset(self, end_times: Times, scores: FloatArray, told: float) -> float:
        """Find the last fall through the level up to `told`."""
        recent = end_times >= told - PAST_SECONDS
        end_times, scores = end_times[recent], scores[recent]
        lag = _OFFSET_WINDOWS * self._window_seconds
        above = np.flatnonzero((scores >= self._level) & (end_times <= told + _SLACK_SECONDS))
        if not len(above):
            return float(end_times[0]) - lag if len(end_times) else told
        last = int(above[-1])
        if last + 1 == len(scores) or scores[last + 1] >= self._level:
            return told - lag
        return self._crossing(end_times, scores, last) - lag

    def _crossing(self, end_times: Times, scores: FloatArray, before: int) -> float:
        """Return when the scores were at the level, between a window and the next."""
        low, high = float(scores[before]), float(scores[before + 1])
        share = (self._level - low) / (high - low)
        return float(end_times[before] + share * (end_times[before + 1] - end_times[before]))
