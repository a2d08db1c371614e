"""The time of a live device's samples: its count of them, dated by the system's clocks."""

from __future__ import annotations

import math

SLEW = 500e-6
"""Fastest correction of either clock, in seconds a second: more than any crystal drifts."""

_LATE_SECONDS = 0.5
_LOST_AFTER_SECONDS = 1.0
_DRIFT_SECONDS = 10.0


class SampleClock:
    """Dates the samples of a live device: wall time = anchor + position / rate, the anchor slewed.

    Deliveries are late by anything but early by nothing, so the earliest of each 10 s tells how the device's
    crystal drifts against the monotonic clock. Corrections are slews of at most SLEW, and so are small
    changes of the wall clock: later samples always have later times. Neither clock is read here.
    """

    def __init__(self, rate_hz: int, position: int, *, wall: float, monotonic: float) -> None:
        self._rate_hz = rate_hz
        self._begin = monotonic - position / rate_hz
        self._offset = wall - monotonic
        self._position = position
        self._correction = 0.0
        self._earliest = math.inf
        self._measured_at = monotonic
        self._late_since = math.nan
        self._least_late = math.inf

    def time_of(self, position: float) -> float:
        """Return the Unix time of a sample."""
        return self._begin + position / self._rate_hz + self._offset

    def early_seconds(self, position: int, *, monotonic: float) -> float:
        """Return how much sooner these samples are here than they can have been heard."""
        return self._begin + position / self._rate_hz - monotonic

    def stepped_seconds(self, *, wall: float, monotonic: float) -> float:
        """Return how far the wall clock was set, beyond what is being slewed."""
        return wall - monotonic - self._offset

    def observe(self, position: int, *, wall: float, monotonic: float) -> int:
        """Hear that `position` samples had been captured at this time; return how many must be missing.

        Samples are missing when for a second every delivery was late by half a second or more. The caller
        adds them to its position from here on.
        """
        budget = SLEW * (position - self._position) / self._rate_hz
        self._position = position
        self._offset += min(max(wall - monotonic - self._offset, -budget), budget)
        slewed = min(max(self._correction, -budget), budget)
        self._begin += slewed
        self._correction -= slewed
        lateness = monotonic - self._begin - position / self._rate_hz
        if lateness >= _LATE_SECONDS:
            return self._missing(lateness, monotonic)
        self._late_since, self._least_late = math.nan, math.inf
        self._earliest = min(self._earliest, lateness)
        if monotonic - self._measured_at >= _DRIFT_SECONDS:
            self._correction, self._earliest, self._measured_at = self._earliest, math.inf, monotonic
        return 0

    def _missing(self, lateness: float, monotonic: float) -> int:
        if math.isnan(self._late_since):
            self._late_since = monotonic
        self._least_late = min(self._least_late, lateness)
        # Time on the clock, not samples: a backlog that arrives at once is late, but not lost.
        if monotonic - self._late_since < _LOST_AFTER_SECONDS:
            return 0
        missing = round(self._least_late * self._rate_hz)
        self._late_since, self._least_late = math.nan, math.inf
        return missing
