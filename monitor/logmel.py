"""CLAP's log-mel spectrogram in torch: the one front end of both encoders.

Equal to transformers' `ClapFeatureExtractor` with `truncation="rand_trunc"`: periodic Hann window, centred
frames with reflect padding, power spectrum, slaney mel filter bank, 10 log10 with a floor at 1e-10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

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


class LogMel(nn.Module):
    """Samples to decibels per mel band, on whatever device the module is on.

    In float32 the largest error is of the order of 0.1 dB, in bands that are all but empty beside loud ones
    (of a recording once sampled at 16 kHz, for example). In float64 it is 1e-5 dB, at twice the time.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: LogMelSettings | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Build window and filter bank; they follow `.to(device)` but stay out of the state dict.

        dtype is that of the Fourier transform.
        """
        super().__init__()
        self.settings = settings or LogMelSettings()
        window = torch.hann_window(self.settings.n_fft, periodic=True, dtype=dtype)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", torch.from_numpy(slaney_filters(self.settings)), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Centred frames of (B, N) float32 samples at full scale 1.0: (B, 1 + N // hop, mels) in dB.

        N must exceed n_fft // 2, for the reflected edges.
        """
        edge = self.settings.n_fft // 2
        return self.frames(functional.pad(samples[:, None], (edge, edge), mode="reflect")[:, 0])

    def frames(self, samples: Tensor) -> Tensor:
        """Frames that lie wholly inside (B, N) samples: (B, 1 + (N - n_fft) // hop, mels) in dB.

        Frame i covers samples [i * hop, i * hop + n_fft), so consecutive pieces of a stream that overlap by
        n_fft - hop samples give the same frames as the stream in one piece.
        """
        frames = samples.to(self.window.dtype).unfold(1, self.settings.n_fft, self.settings.hop)
        mel_power = torch.cat(
            [self._mel_power(part) for part in torch.split(frames, FRAMES_AT_ONCE, dim=1)], dim=1
        )
        return 10.0 * torch.log10(torch.clamp(mel_power, min=POWER_FLOOR))

    def _mel_power(self, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames * self.window)
        # Not a sum over an axis of the two parts: reducing over so short an axis is several times slower.
        power: Tensor = spectrum.real.square() + spectrum.imag.square()
        return power.to(self.filters.dtype) @ self.filters
