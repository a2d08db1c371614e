"""All figures of an evaluation, from timelines, alerts and truth; nothing is run and nothing is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.config import Config
from monitor.evaluation.alerts import Span, Tally, busy_spans, tally
from monitor.evaluation.frames import area_under_roc, average_precision, frame_edges, frame_truth
from monitor.evaluation.sed import ScoredFile, sed_figures
from monitor.evaluation.timeline import Alert, Timeline, decide, local_peaks

_SWEEP_STEPS = 200


@dataclass(frozen=True, slots=True)
class Heard:
    """One recording: what the monitor made of it, and the truth."""

    timeline: Timeline
    alerts: Sequence[Alert]
    duration: float
    """Seconds."""
    occurrences: Sequence[tuple[str, Span]]
    """Events of the configuration, within the duration."""
    other_sounds: Sequence[Span] = ()
    """Labelled sounds that no event stands for."""

    def spans(self, event: str) -> list[Span]:
        """When an event sounds."""
        return [span for name, span in self.occurrences if name == event]

    def busy(self) -> list[Span]:
        """When anything labelled sounds or may still be alerted."""
        return busy_spans([*(span for _, span in self.occurrences), *self.other_sounds], self.duration)


@dataclass(frozen=True, slots=True)
class Figures:
    """How well one event is told, or all together; None where the truth doesn't allow a figure."""

    alerts: Tally
    hours: float
    event_free_hours: float
    """Of these, hours in which nothing labelled sounds."""
    threshold: float | None = None
    average_precision: float | None = None
    auc: float | None = None
    psds1: float | None = None
    psds2: float | None = None
    event_f1: float | None = None

    @property
    def false_per_hour(self) -> float | None:
        """False alerts per hour of sound."""
        return self.alerts.false / self.hours if self.hours else None

    @property
    def false_per_event_free_hour(self) -> float | None:
        """False alerts while nothing labelled sounded, per hour of that."""
        return self.alerts.false_event_free / self.event_free_hours if self.event_free_hours else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of a configuration on labelled sound."""

    events: Mapping[str, Figures]
    overall: Figures
    """Alerts of all events together; means of the other figures over the events that occur, but for PSDS."""
    best_threshold: Figures | None
    """The same at the single threshold for all events that gives the best F1; None without occurrences."""


def evaluate_timelines(config: Config, heard: Mapping[str, Heard]) -> Evaluation:
    """Compute everything, for recordings by name."""
    names, recordings = list(config.events), list(heard.values())
    files = {name: _framed(each, config.windows.window_seconds) for name, each in heard.items()}
    scores = np.concatenate([file.scores for file in files.values()])
    hours, free_hours = _hours(recordings)
    events = {}
    for index, name in enumerate(names):
        truth = np.concatenate([frame_truth(files[key].edges, heard[key].spans(name)) for key in files])
        events[name] = Figures(
            _sum(_tally_told(name, each) for each in recordings),
            hours,
            free_hours,
            config.events[name].on_threshold,
            average_precision(truth, scores[:, index]),
            area_under_roc(truth, scores[:, index]),
        )
    overall = Figures(_sum(figures.alerts for figures in events.values()), hours, free_hours)
    occurring = [name for name in names if events[name].alerts.occurrences]
    if not occurring:
        return Evaluation(events, overall, None)
    sed = sed_figures(files, names, {name: config.events[name].on_threshold for name in names})
    for name in occurring:
        events[name] = replace(
            events[name],
            psds1=sed.psds_by_event[0][name],
            psds2=sed.psds_by_event[1][name],
            event_f1=sed.event_f1_by_event[name],
        )
    overall = replace(
        overall,
        average_precision=_mean([events[name].average_precision for name in occurring]),
        auc=_mean([events[name].auc for name in occurring]),
        psds1=sed.psds[0],
        psds2=sed.psds[1],
        event_f1=sed.event_f1,
    )
    threshold, alerts = best_common_threshold(config, recordings)
    return Evaluation(events, overall, Figures(alerts, hours, free_hours, threshold))


def tally_at(
    config: Config, thresholds: Mapping[str, float], recordings: Sequence[Heard]
) -> dict[str, Tally]:
    """Decide anew with these on-thresholds, off-thresholds in proportion, and judge each event."""
    busy = [each.busy() for each in recordings]
    return {
        name: _sum(
            tally(
                decide(config, name, each.timeline, threshold),
                each.spans(name),
                occupied,
            )
            for each, occupied in zip(recordings, busy, strict=True)
        )
        for name, threshold in thresholds.items()
    }


def best_common_threshold(config: Config, recordings: Sequence[Heard]) -> tuple[float, Tally]:
    """Find the single on-threshold for all events with the highest F1, and its tally."""
    tallies = (
        (threshold, _sum(tally_at(config, dict.fromkeys(config.events, threshold), recordings).values()))
        for threshold in _candidates(recordings)
    )
    return max(tallies, key=lambda pair: pair[1].f1 or 0.0)


def _candidates(recordings: Sequence[Heard]) -> list[float]:
    """Thresholds worth trying: evenly spaced in rank among the peaks that could matter."""
    occurrences = sum(len(each.occurrences) for each in recordings)
    peaks = np.sort(np.concatenate([local_peaks(each.timeline.smooth) for each in recordings]))[::-1]
    useful = peaks[peaks > 0.0][: max(20 * occurrences, 1000)]
    if not len(useful):
        return [0.5]
    ranks = np.linspace(0, len(useful) - 1, min(_SWEEP_STEPS, len(useful))).round().astype(int)
    return [float(value) for value in np.unique(useful[ranks])]


def _framed(heard: Heard, window_seconds: float) -> ScoredFile:
    timeline = heard.timeline
    edges = frame_edges(timeline.end_times, window_seconds, heard.duration)
    # A recording shorter than a window is one frame that scores nothing.
    nothing = np.zeros((1, timeline.smooth.shape[1]), dtype=np.float32)
    return ScoredFile(edges, timeline.smooth if len(timeline.smooth) else nothing, heard.occurrences)


def _tally_told(event: str, heard: Heard) -> Tally:
    told = [alert for alert in heard.alerts if alert.event == event]
    return tally(told, heard.spans(event), heard.busy())


def _hours(recordings: Sequence[Heard]) -> tuple[float, float]:
    """Return all hours, and those in which nothing labelled sounds."""
    seconds = sum(each.duration for each in recordings)
    busy = sum(end - begin for each in recordings for begin, end in each.busy())
    return seconds / 3600, (seconds - busy) / 3600


def _sum(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, start=Tally())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
