"""CLAP's log-mel spectrogram: the one front end of both encoders, here in plain arrays.

Equal to transformers' `ClapFeatureExtractor` with `truncation="rand_trunc"`: periodic Hann window, centred
frames with reflect padding, power spectrum, slaney mel filter bank, 10 log10 with a floor at 1e-10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.types import FloatArray

POWER_FLOOR = 1e-10
FLOOR_DB = -100.0
FRAMES_AT_ONCE = 125
"""So many frames' spectra stay in a processor's second cache."""


@dataclass(frozen=True)
class LogMelSettings:
    """The front end's numbers; the defaults are those of LAION's unfused checkpoints."""

    rate_hz: int = 48000
    n_fft: int = 1024
    hop: int = 480
    mels: int = 64
    fmin: float = 50.0
    """Hz, lower edge of the first mel band."""
    fmax: float = 14000.0
    """Hz, upper edge of the last mel band."""


def _hz_to_mel(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz, 27 bands per factor of 6.4 above."""
    linear = 3.0 * frequency_hz / 200.0
    log = 15.0 + np.log(np.maximum(frequency_hz, 1e-9) / 1000.0) * (27.0 / np.log(6.4))
    return np.where(frequency_hz >= 1000.0, log, linear)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = 200.0 * mels / 3.0
    log = 1000.0 * np.exp((np.log(6.4) / 27.0) * (mels - 15.0))
    return np.where(mels >= 15.0, log, linear)


def slaney_filters(settings: LogMelSettings) -> NDArray[np.float32]:
    """Triangles of equal area, shape (n_fft // 2 + 1, mels), power in, mel power out."""
    ends = _hz_to_mel(np.array([settings.fmin, settings.fmax], dtype=np.float64))
    corners_hz = _mel_to_hz(np.linspace(ends[0], ends[1], settings.mels + 2))
    bins_hz = np.linspace(0.0, settings.rate_hz / 2, settings.n_fft // 2 + 1)
    widths = np.diff(corners_hz)
    slopes = corners_hz[None, :] - bins_hz[:, None]
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    triangles *= 2.0 / (corners_hz[2:] - corners_hz[:-2])
    return triangles.astype(np.float32)


class LogMel:
    """Samples to decibels per mel band, in float32: see `encoders/clap_logmel.py` for what that resolves."""

    def __init__(self, settings: LogMelSettings | None = None) -> None:
        """Build window and filter bank."""
        self.settings = settings or LogMelSettings()
        n_fft = self.settings.n_fft
        self._window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
        filters = slaney_filters(self.settings)
        self._bins = int(np.flatnonzero(filters.any(axis=1))[-1]) + 1
        self._filters = filters[: self._bins]

    def frames(self, samples: FloatArray) -> FloatArray:
        """Frames that lie wholly inside (B, N) samples: (B, 1 + (N - n_fft) // hop, mels) in dB.

        Frame i covers samples [i * hop, i * hop + n_fft), so consecutive pieces of a stream that overlap by
        n_fft - hop samples give the same frames as the stream in one piece.
        """
        frames = sliding_window_view(samples, self.settings.n_fft, axis=1)[:, :: self.settings.hop]
        power = np.empty((*frames.shape[:2], self._filters.shape[1]), dtype=np.float32)
        rows = max(1, FRAMES_AT_ONCE // max(1, frames.shape[1]))
        for row in range(0, len(frames), rows):
            for start in range(0, frames.shape[1], FRAMES_AT_ONCE):
                part = np.s_[row : row + rows, start : start + FRAMES_AT_ONCE]
                spectrum = np.fft.rfft(frames[part] * self._window)[..., : self._bins]
                power[part] = (spectrum.real**2 + spectrum.imag**2) @ self._filters
        decibels: FloatArray = np.log10(np.maximum(power, POWER_FLOOR, out=power), out=power)
        decibels *= 10.0
        return decibels
