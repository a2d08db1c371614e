"""Are the alerts right? Each is held against the labelled occurrences of its event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.evaluation.timeline import Alert

EARLY_SECONDS = 0.5
"""An alert may start this much before the labelled onset."""
LATE_SECONDS = 2.0
"""An alert may start this much after the labelled offset."""

Span = tuple[float, float]


def match(starts: Sequence[float], occurrences: Sequence[Span]) -> list[int | None]:
    """Return for each alert the occurrence that it is right about, None for a false one.

    An alert is right if it starts between onset - 0.5 s and offset + 2 s of an occurrence that has no alert
    yet. Where several fit, the one that ends first takes it, which lets as many alerts be right as can be.
    """
    right: list[int | None] = [None] * len(starts)
    free = set(range(len(occurrences)))
    for alert in sorted(range(len(starts)), key=starts.__getitem__):
        fitting = [
            index
            for index in free
            if occurrences[index][0] - EARLY_SECONDS <= starts[alert] <= occurrences[index][1] + LATE_SECONDS
        ]
        if fitting:
            taken = min(fitting, key=lambda index: (occurrences[index][1], index))
            free.remove(taken)
            right[alert] = taken
    return right


@dataclass(frozen=True, slots=True)
class Tally:
    """How alerts and occurrences met, over any number of recordings and events."""

    occurrences: int = 0
    right: int = 0
    false: int = 0
    false_event_free: int = 0
    """False alerts while nothing labelled sounded."""
    delays_seconds: tuple[float, ...] = field(default=())
    """From onset to the window that decided, of right alerts."""
    onset_errors_seconds: tuple[float, ...] = field(default=())
    """Told less labelled, of right alerts."""
    offset_errors_seconds: tuple[float, ...] = field(default=())
    """Told less labelled, of right alerts that ended of themselves or were ended."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.occurrences + other.occurrences,
            self.right + other.right,
            self.false + other.false,
            self.false_event_free + other.false_event_free,
            self.delays_seconds + other.delays_seconds,
            self.onset_errors_seconds + other.onset_errors_seconds,
            self.offset_errors_seconds + other.offset_errors_seconds,
        )

    @property
    def recall(self) -> float | None:
        """Share of the occurrences that were alerted; None without any."""
        return self.right / self.occurrences if self.occurrences else None

    @property
    def precision(self) -> float | None:
        """Share of the alerts that were right; None without any."""
        return self.right / (self.right + self.false) if self.right + self.false else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None where there was nothing to hear and nothing was heard."""
        total = self.occurrences + self.right + self.false
        return 2 * self.right / total if total else None

    def delay(self, quantile: float) -> float | None:
        """Quantile of the delays, in seconds; None without any."""
        return float(np.quantile(self.delays_seconds, quantile)) if self.delays_seconds else None

    @property
    def onset_error(self) -> float | None:
        """Median size of the onsets' errors, in seconds; None without any."""
        return _median_size(self.onset_errors_seconds)

    @property
    def offset_error(self) -> float | None:
        """Median size of the offsets' errors, in seconds; None without any."""
        return _median_size(self.offset_errors_seconds)


def _median_size(errors: Sequence[float]) -> float | None:
    return float(np.median(np.abs(errors))) if errors else None


def tally(alerts: Sequence[Alert], occurrences: Sequence[Span], busy: Sequence[Span]) -> Tally:
    """Judge one event's alerts in one recording.

    `busy`: disjoint stretches in which anything labelled sounds; see `busy_spans`.
    """
    matched = match([alert.started_at for alert in alerts], occurrences)
    delays, onsets, offsets, false, free = [], [], [], 0, 0
    for alert, index in zip(alerts, matched, strict=True):
        if index is None:
            false += 1
            free += not any(begin <= alert.started_at <= end for begin, end in busy)
            continue
        onset, offset = occurrences[index]
        delays.append(alert.decided_at - onset)
        onsets.append(alert.started_at - onset)
        if alert.ended_at is not None:
            offsets.append(alert.ended_at - offset)
    return Tally(len(occurrences), len(delays), false, free, tuple(delays), tuple(onsets), tuple(offsets))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Join what overlaps or touches; sorted."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def busy_spans(occurrences: Iterable[Span], duration: float) -> list[Span]:
    """Return when anything labelled sounds or may still be alerted, within a duration in seconds."""
    wide = [
        (max(onset - EARLY_SECONDS, 0.0), min(offset + LATE_SECONDS, duration))
        for onset, offset in occurrences
    ]
    return merged(span for span in wide if span[0] < span[1])
