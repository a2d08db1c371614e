"""Building blocks of procedural sounds: float64 arrays at 48 kHz."""

from __future__ import annotations

import numpy as np
from scipy import signal

RATE = 48000
Rng = np.random.Generator
Array = np.ndarray


def seconds(duration: float) -> Array:
    """Return sample times in seconds."""
    return np.arange(int(duration * RATE)) / RATE


def colour(rng: Rng, duration: float, slope: float) -> Array:
    """Noise whose power falls with `slope` times 3 dB per octave (0 white, 1 pink, 2 brown)."""
    count = int(duration * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0)
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), count)
    return noise / np.std(noise)


def band(noise: Array, low: float, high: float) -> Array:
    """Keep the band between two frequencies in Hz."""
    sos = signal.butter(2, [low, min(high, 23000)], "bandpass", fs=RATE, output="sos")
    return signal.sosfilt(sos, noise)


def slow(rng: Rng, duration: float, rate_hz: float) -> Array:
    """Draw a smooth random curve around 0 with unit deviation, moving about `rate_hz` times a second."""
    points = max(4, int(duration * rate_hz) + 3)
    return np.interp(
        np.linspace(0, points - 1, int(duration * RATE)), np.arange(points), rng.standard_normal(points)
    )


def tone(frequency: Array | float, duration: float, harmonics: list[float] | None = None) -> Array:
    """Make a tone of a fixed or moving frequency in Hz with harmonics."""
    count = int(duration * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, count)) / RATE
    return sum(a * np.sin((k + 1) * phase) for k, a in enumerate(harmonics or [1.0]))


def pulses(duration: float, onsets: list[float], sound: Array) -> Array:
    """Repeat a sound at the onsets, in seconds."""
    out = np.zeros(int(duration * RATE))
    for onset in onsets:
        start = int(onset * RATE)
        piece = sound[: max(0, len(out) - start)]
        out[start : start + len(piece)] += piece
    return out


def ring(rng: Rng, base: float, partials: int, decay: float) -> Array:
    """Strike a body: inharmonic partials that die away."""
    t = seconds(min(6 * decay, 4.0))
    out = np.zeros_like(t)
    for k in range(partials):
        ratio = (k + 1) ** rng.uniform(1.0, 1.3) * rng.uniform(0.97, 1.03)
        if base * ratio < 20000:
            out += (
                rng.uniform(0.2, 1)
                / (k + 1)
                * np.exp(-t * (1 + 0.6 * k) / decay)
                * np.sin(2 * np.pi * base * ratio * t)
            )
    return out


def both(first: Array, second: Array) -> Array:
    """Sum of two sounds that start together."""
    out = np.zeros(max(len(first), len(second)))
    out[: len(first)] += first
    out[: len(second)] += second
    return out


def thump(rng: Rng, low: float, high: float, decay: float) -> Array:
    """Make a burst of noise that dies away."""
    t = seconds(6 * decay)
    return band(rng.standard_normal(len(t)), low, high) * np.exp(-t / decay)


def hum(rng: Rng, duration: float) -> Array:
    """Make hum."""
    base = rng.choice([50.0, 60.0, 100.0, 120.0])
    return tone(base, duration, list(rng.uniform(0, 1, 8))) + 0.05 * colour(rng, duration, 1)
