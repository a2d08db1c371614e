"""Thresholds from the sound of a room in which none of the events happened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.activity import Rule, Started
from monitor.config import Config, EventConfig
from monitor.dating import Times
from monitor.evaluation.rates import Rate, Tail, at_most, counted, from_logit, logit
from monitor.evaluation.timeline import Timeline, changes, local_peaks, rule_at
from monitor.types import FloatArray

LOWEST, HIGHEST = 0.01, 0.999
"""Thresholds outside would hang on the last digits of the scores."""
_FEWEST_PEAKS, _TAIL, _GROWTH = 3, 0.2, 8
_NOTHING = 1e-6
# Log-odds above the highest score, where there is nothing else to go by: a factor of 20.
_CLEAR = 3.0

Series = tuple[Times, FloatArray]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Thresholds for one event, and what is to be expected of them."""

    on_threshold: float
    off_threshold: float
    false_per_day: Rate | None
    """Of all sources together; None where the room gave too few peaks to tell."""
    false_in_recording: int
    highest: float
    """Highest smoothed score in the recording."""
    highest_at: tuple[str, float]
    """Where that was: source and seconds from its beginning."""
    within_reach: bool = True
    """False where no threshold gives the wanted rate."""
    too_short: bool = False
    """The recording is too short to place the threshold by the wanted rate: see `propose`."""


@dataclass(frozen=True, slots=True)
class Check:
    """What thresholds from one half of the recording gave in the other, both ways."""

    false: int
    hours: float
    per_day: Rate
    """Of all sources together."""
    hours_needed: float
    """Without any false alarm, to promise the wanted rate by counting."""

    def promises(self, per_day: float) -> bool:
        """Tell whether the recording was long enough, and quiet enough, to promise this rate."""
        return self.per_day.high <= per_day


def hours_of(timelines: Sequence[Timeline], hop_seconds: float) -> float:
    """Return how long was listened; a window stands for a hop."""
    return sum(len(each.end_times) for each in timelines) * hop_seconds / 3600


def propose(config: Config, room: Sequence[Timeline], false_per_day: float) -> dict[str, Proposal]:
    """Propose thresholds with which all events and sources together raise so many false alarms a day.

    Every event on every source gets the same share of them. Where the recording is so short that even the
    highest threshold couldn't be told to give it, thresholds stay, or go well above what was heard: an event
    that scored nothing there isn't made deaf.
    """
    listeners = {name: _listeners(config, name) for name in config.events}
    share = false_per_day / 24 / sum(listeners.values())
    proposals = {}
    for index, (name, event) in enumerate(config.events.items()):
        heard = [each for each in room if len(each.smooth) and not np.isnan(each.smooth[0, index])]
        if not heard:
            continue
        series = [each.of(index) for each in heard]
        hours = hours_of(heard, config.windows.hop_seconds)
        tail = _tail(event, series, config, hours)
        best = max(heard, key=lambda each: each.smooth[:, index].max())
        place = int(best.smooth[:, index].argmax())
        clear = from_logit(logit(float(best.smooth[place, index])) + _CLEAR)
        wanted = HIGHEST if tail is None else tail.score_at(share)
        too_short = tail is not None and wanted > HIGHEST >= clear
        if tail is None or too_short:
            wanted = min(max(event.on_threshold, clear), HIGHEST)
        on = min(max(math.ceil(wanted * 1e4) / 1e4, LOWEST), HIGHEST)
        rule = rule_at(event, on)
        proposals[name] = Proposal(
            on,
            math.floor(rule.off_threshold * 1e4) / 1e4,
            None if tail is None else tail.rate(on).times(24 * listeners[name]),
            sum(_starts(rule, each) for each in series),
            float(best.smooth[place, index]),
            (best.source, float(best.end_times[place])),
            wanted <= HIGHEST,
            too_short,
        )
    return proposals


def _listeners(config: Config, event: str) -> int:
    return sum(config.listens(source, event) for source in config.sources)


def _tail(event: EventConfig, series: Sequence[Series], config: Config, hours: float) -> Tail | None:
    """Fit the highest peaks of one event; None where there are too few."""
    hop_seconds = config.windows.hop_seconds
    # Windows further apart share no sound.
    reach = math.ceil(config.windows.window_seconds / hop_seconds - 1e-6)
    held = [_held(smooth, event.min_on_seconds, hop_seconds)[:, None] for _, smooth in series]
    peaks = np.concatenate([local_peaks(each, reach) for each in held])
    levels = np.sort(peaks[peaks > _NOTHING])[::-1]
    # A growing number, and an ever smaller part of them all.
    highest = max(math.ceil(min(_TAIL * len(levels), math.sqrt(_GROWTH * len(levels)))), _FEWEST_PEAKS)
    return Tail.fit(levels.tolist(), highest, hours) if len(levels) > highest else None


def _held(smooth: FloatArray, min_on_seconds: float, hop_seconds: float) -> FloatArray:
    """Return the level that was held for min_on, by the window that it began with; shape (windows,)."""
    length = math.ceil(min_on_seconds / hop_seconds - 1e-6) + 1
    if length == 1:
        return smooth
    padded = np.concatenate((smooth, np.zeros(length - 1, dtype=np.float32)))
    held: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, length).min(axis=1)
    return held


def check_by_halves(config: Config, room: Sequence[Timeline], false_per_day: float) -> Check:
    """Propose thresholds from each half of every recording and count the alerts in the other."""
    halves = [
        [each.part(0, len(each.end_times) // 2) for each in room],
        [each.part(len(each.end_times) // 2, len(each.end_times)) for each in room],
    ]
    false = sum(
        count_alerts(
            config,
            {name: each.on_threshold for name, each in propose(config, fitted, false_per_day).items()},
            other,
        )
        for fitted, other in (halves, halves[::-1])
    )
    hours = hours_of(room, config.windows.hop_seconds)
    sources = max(_listeners(config, name) for name in config.events)
    return Check(
        false,
        hours,
        counted(false, hours).times(24 * sources),
        24 * sources * at_most(0) / false_per_day,
    )


def count_alerts(config: Config, thresholds: Mapping[str, float], room: Sequence[Timeline]) -> int:
    """Count the alerts that these on-thresholds give."""
    names = list(config.events)
    return sum(
        _starts(rule_at(config.events[name], threshold), each.of(names.index(name)))
        for name, threshold in thresholds.items()
        for each in room
    )


def _starts(rule: Rule, series: Series) -> int:
    return sum(isinstance(change, Started) for _, change in changes(rule, *series))
