"""CLAP's log-mel spectrogram in torch, on whatever device the encoder is on; see `monitor.logmel`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.logmel import FRAMES_AT_ONCE, POWER_FLOOR, LogMelSettings, slaney_filters

FRAMES_ON_GPU = 1 << 16
"""64 windows of 10 s: enough to fill any GPU; more would only take memory."""


class LogMel(nn.Module):
    """Samples to decibels per mel band, on whatever device the module is on.

    In float32 the largest error is of the order of 0.1 dB, in bands that are all but empty beside loud ones
    (of a recording once sampled at 16 kHz, for example). In float64 it is 1e-5 dB, at twice the time.
    """

    window: Tensor
    filters: Tensor
    paired_filters: Tensor

    def __init__(self, settings: LogMelSettings | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Build window and filter bank; they follow `.to(device)` but stay out of the state dict.

        dtype is that of the Fourier transform.
        """
        super().__init__()
        self.settings = settings or LogMelSettings()
        window = torch.hann_window(self.settings.n_fft, periodic=True, dtype=dtype)
        self.register_buffer("window", window, persistent=False)
        filters = torch.from_numpy(slaney_filters(self.settings))
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("paired_filters", filters.repeat_interleave(2, dim=0), persistent=False)

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
        at_once = FRAMES_AT_ONCE if samples.is_cpu else max(1, FRAMES_ON_GPU // len(samples))
        mel_power = torch.cat([self._mel_power(part) for part in torch.split(frames, at_once, dim=1)], dim=1)
        return 10.0 * torch.log10(torch.clamp(mel_power, min=POWER_FLOOR))

    def _mel_power(self, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames * self.window)
        if not spectrum.is_cpu:
            # A pass less over a GPU's memory: the filters add the two parts, which lie side by side.
            parts = torch.view_as_real(spectrum).to(self.filters.dtype).flatten(-2)
            return parts.square() @ self.paired_filters
        # Not a sum over an axis of the two parts: reducing over so short an axis is several times slower.
        power: Tensor = spectrum.real.square() + spectrum.imag.square()
        return power.to(self.filters.dtype) @ self.filters
