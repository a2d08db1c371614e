"""What the page draws of the sound: levels per mel band, a byte each, a column every 50 ms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.logmel import LogMelSettings, slaney_filters
from monitor.types import AudioBlock

COLUMN_SECONDS = 0.05
BANDS = 64
FLOOR_DBFS = -95.0
"""A band's level that is drawn as 0 ..."""
CEILING_DBFS = -20.0
"""... and as 255."""
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 14_000.0

Columns = NDArray[np.uint8]
"""Shape (columns, BANDS), lowest band first."""


class Spectrograph:
    """Follows one source; columns are numbered on the wall clock's grid of COLUMN_SECONDS."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._hop = round(COLUMN_SECONDS * rate_hz)
        # Frames overlap, so that no click falls between two.
        self._length = 1 << (3 * self._hop // 2 - 1).bit_length()
        settings = LogMelSettings(
            rate_hz, self._length, self._hop, BANDS, _LOWEST_HZ, min(_HIGHEST_HZ, rate_hz / 2)
        )
        filters = slaney_filters(settings)
        window = np.hanning(self._length + 1)[:-1]
        # Bins add up to the mean square of the samples, as `level_dbfs` has it; the filters' peaks are 1.
        power = 2.0 / (self._length * np.sum(window**2))
        self._filters = (power * filters / np.maximum(filters.max(axis=0), 1e-9)).astype(np.float32)
        self._window = window.astype(np.float32)
        self._kept = np.zeros(0, dtype=np.float32)
        self._position: int | None = None

    def push(self, blocks: Iterable[AudioBlock]) -> Iterator[tuple[int, Columns]]:
        """Take blocks and yield each unbroken run of columns with the first one's number."""
        for run in _runs(blocks):
            if run[0].gap or run[0].position != self._position:
                self._kept = self._kept[:0]
            self._position = _end(run[-1])
            began = run[0].start_time + (self._length / 2 - len(self._kept)) / self.rate_hz
            samples = np.concatenate([self._kept, *(each.samples for each in run)])
            count = max(0, 1 + (len(samples) - self._length) // self._hop)
            self._kept = samples[count * self._hop :]
            if count:
                yield round(began / COLUMN_SECONDS), self._columns(samples, count)

    def _columns(self, samples: NDArray[np.float32], count: int) -> Columns:
        frames = sliding_window_view(samples, self._length)[:: self._hop][:count]
        spectrum = np.fft.rfft(frames * self._window)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._filters
        level_dbfs = 10.0 * np.log10(np.maximum(power, 1e-12))
        scaled = (level_dbfs - FLOOR_DBFS) * (255.0 / (CEILING_DBFS - FLOOR_DBFS))
        columns: Columns = np.clip(np.rint(scaled), 0.0, 255.0).astype(np.uint8)
        return columns


def _runs(blocks: Iterable[AudioBlock]) -> list[list[AudioBlock]]:
    runs: list[list[AudioBlock]] = []
    for block in blocks:
        if runs and not block.gap and block.position == _end(runs[-1][-1]):
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _end(block: AudioBlock) -> int:
    return block.position + len(block.samples)
