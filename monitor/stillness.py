"""Whether a room still sounds as it did, told from band levels: far cheaper than an embedding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.config import ChangeGateConfig, Config
from monitor.types import FloatArray, Window

_FRAME_SECONDS = 0.032
_BANDS = 12
_LOWEST_HZ = 60.0
_FLOOR_DB = -100.0
_PEAKS = 2.0
"""The loudest frame of a hop wavers about twice as much as its mean does, in steady noise."""

_Sketch = NDArray[np.float64]


def change_gates(config: Config) -> dict[str, ChangeGate]:
    """Make a gate for each source that may have one."""
    windows = config.windows
    if windows.change_gate is None:
        return {}
    wary = [name for name, event in config.events.items() if not event.change_gate]
    return {
        source: ChangeGate(windows.change_gate, windows.hop_seconds)
        for source in config.sources
        if not any(config.listens(source, event) for event in wary)
    }


class ChangeGate:
    """One source's; the same windows give the same answers.

    A window is still when every hop in it has about the level, band by band, that the window embedded last
    had throughout: its mean within `tolerance_db`, its loudest frame within twice that. After `max_seconds`
    one is embedded all the same.
    """

    def __init__(self, config: ChangeGateConfig, hop_seconds: float) -> None:
        self._tolerance_db = np.array([[config.tolerance_db], [_PEAKS * config.tolerance_db]])
        self._max_seconds = config.max_seconds
        self._hop_seconds = hop_seconds
        self._sketches: dict[int, _Sketch] = {}
        self._reference: _Sketch | None = None
        self._embedded_at = 0.0

    def forget(self) -> None:
        """Have the next window embedded."""
        self._reference = None
        self._sketches.clear()

    def moved(self, window: Window) -> bool:
        """Tell whether a window must be embedded; if so, it is what the next ones are held against."""
        hop = round(self._hop_seconds * window.rate_hz)
        starts = range(window.position, window.position + len(window.samples) - hop + 1, hop)
        known, self._sketches = self._sketches, {}
        for start in starts:
            place = start - window.position
            sketch = known.get(start)
            if sketch is None:
                sketch = sketched(window.samples[place : place + hop], window.rate_hz)
            self._sketches[start] = sketch
        hops = np.stack(list(self._sketches.values()))
        reference = self._reference
        due = window.end_time - self._embedded_at >= self._max_seconds
        if reference is not None and not due and self._near(hops, reference):
            return False
        mean = hops.mean(axis=0)
        self._reference = mean if self._near(hops, mean) else None
        self._embedded_at = window.end_time
        return True

    def _near(self, hops: _Sketch, reference: _Sketch) -> bool:
        return bool((np.abs(hops - reference) <= self._tolerance_db).all())


def sketched(samples: FloatArray, rate_hz: int) -> _Sketch:
    """Return the mean and the highest level of each band, shape (2, bands), in dB re full scale."""
    length = min(1 << round(np.log2(_FRAME_SECONDS * rate_hz)), len(samples))
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    power = np.abs(np.fft.rfft(frames * np.hanning(length).astype(np.float32), axis=1)) ** 2
    edges_hz = np.geomspace(_LOWEST_HZ, rate_hz / 2, _BANDS + 1)
    edges = np.unique(np.round(edges_hz * length / rate_hz).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1) / length**2
    floor = 10.0 ** (_FLOOR_DB / 10.0)
    levels: _Sketch = 10.0 * np.log10(np.stack([bands.mean(axis=0), bands.max(axis=0)]) + floor)
    return levels
