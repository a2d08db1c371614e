"""Smoothing of scores over time, for all events of one source at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monitor.config import EmaSmoothing, MedianSmoothing, NoSmoothing
from monitor.types import FloatArray

Method = EmaSmoothing | MedianSmoothing | NoSmoothing


def ema_weight(elapsed_seconds: float, time_constant_seconds: float) -> float:
    """Weight of the newest value: 1 - exp(-elapsed / tau), the sampled step response of an RC low-pass."""
    if time_constant_seconds <= 0.0:
        return 1.0
    return -math.expm1(-elapsed_seconds / time_constant_seconds)


def median_length(seconds: float, hop_seconds: float) -> int:
    """Values in a median over `seconds`: odd, so that the median is one of them, and at least one."""
    return 2 * round((seconds / hop_seconds - 1) / 2) + 1 if seconds > hop_seconds else 1


class Smoother:
    """Starts from 0 everywhere."""

    def __init__(self, methods: Sequence[Method], hop_seconds: float) -> None:
        self._hop_seconds = hop_seconds
        # Of rising and of falling.
        self._time_constants = [
            (method.seconds, method.fall_seconds) if isinstance(method, EmaSmoothing) else (0.0, 0.0)
            for method in methods
        ]
        self._weights: FloatArray = np.ones((len(methods), 2), dtype=np.float32)
        self._weighted_for: float | None = None
        self._ema: FloatArray = np.zeros(len(methods), dtype=np.float32)
        lengths = [
            median_length(method.seconds, hop_seconds) if isinstance(method, MedianSmoothing) else 0
            for method in methods
        ]
        self._medians = [(index, length) for index, length in enumerate(lengths) if length > 1]
        self._history = np.zeros((max(lengths, default=0), len(methods)), dtype=np.float32)

    def update(self, values: FloatArray, elapsed_seconds: float | None = None) -> FloatArray:
        """Take the newest scores, shape (events,), and return the smoothed ones.

        `elapsed_seconds` since the values before; a hop when not given. Dropped windows make it longer,
        and the average then leans further towards the new value, as it would have.
        """
        elapsed = self._hop_seconds if elapsed_seconds is None else round(max(elapsed_seconds, 0.0), 4)
        if elapsed != self._weighted_for:
            pairs = [[ema_weight(elapsed, tau) for tau in pair] for pair in self._time_constants]
            self._weights = np.array(pairs, dtype=np.float32).reshape(-1, 2)
            self._weighted_for = elapsed
        weights = np.where(values > self._ema, self._weights[:, 0], self._weights[:, 1])
        self._ema = ((1.0 - weights) * self._ema + weights * values).astype(np.float32)
        smooth = self._ema.copy()
        if self._medians:
            self._history = np.roll(self._history, 1, axis=0)
            self._history[0] = values
            for index, length in self._medians:
                smooth[index] = np.median(self._history[:length, index])
        return smooth

    def adopt(self, index: int, other: Smoother, other_index: int) -> None:
        """Take over the past of one event that is smoothed in the same way in `other`."""
        self._ema[index] = other._ema[other_index]
        length = min(len(self._history), len(other._history))
        self._history[:length, index] = other._history[:length, other_index]

    def forget(self, index: int) -> None:
        """Forget the past of one event."""
        self._ema[index] = 0.0
        self._history[:, index] = 0.0

    def reset(self) -> None:
        """Forget everything, as after a gap."""
        self._ema[:] = 0.0
        self._history[:] = 0.0
