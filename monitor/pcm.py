"""Sample maths: bytes to floats, one channel out of many, level, rate, and inputs that are stuck."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from monitor.types import FloatArray

Encoding = Literal["s16le", "s32le", "f32le"]

LIMIT = 1000.0
"""Largest sample let through: 60 dB over full scale, so that no later square overflows."""

_DTYPES: dict[Encoding, tuple[str, float]] = {
    "s16le": ("<i2", 2.0**-15),
    "s32le": ("<i4", 2.0**-31),
    "f32le": ("<f4", 1.0),
}


def sample_bytes(encoding: Encoding) -> int:
    """Return the length of one sample of one channel."""
    return np.dtype(_DTYPES[encoding][0]).itemsize


def decode(data: bytes | bytearray | memoryview, encoding: Encoding, channels: int) -> FloatArray:
    """Return interleaved PCM as floats of shape (frames, channels), full scale 1.0."""
    dtype, scale = _DTYPES[encoding]
    frames = np.frombuffer(data, dtype=dtype).reshape(-1, channels)
    return frames.astype(np.float32) * np.float32(scale) if scale != 1.0 else frames.astype(np.float32)


def pick(frames: FloatArray, channel: int) -> FloatArray:
    """Return one channel, counted from 1, of shape (frames,)."""
    return np.ascontiguousarray(frames[:, channel - 1])


def downmix(frames: FloatArray) -> FloatArray:
    """Return the mean over the channels, of shape (frames,)."""
    return pick(frames, 1) if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)


def peak_of(samples: FloatArray) -> float:
    """Return the largest absolute value, 0.0 of no samples, NaN where one is NaN."""
    return max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))


def sanitised(samples: FloatArray) -> FloatArray:
    """Return the samples with NaN and infinities as 0 and the rest within +-LIMIT."""
    if peak_of(samples) <= LIMIT:  # false for NaN too
        return samples
    finite = np.where(np.isfinite(samples), samples, np.float32(0.0))
    return np.clip(finite, -LIMIT, LIMIT).astype(np.float32)


def frozen(samples: FloatArray) -> FloatArray:
    """Return the samples, read-only from now on."""
    samples.flags.writeable = False
    return samples


def level_dbfs(samples: NDArray[np.floating]) -> float:
    """Return 20 log10(RMS), full scale 1.0; -inf for digital silence and for no samples."""
    if not samples.size:
        return -math.inf
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return 10.0 * math.log10(power) if power > 0.0 else -math.inf


class Resampler:
    """Changes the sample rate of a stream, in blocks of any size, exactly as in one piece.

    After `flush` the output since the last flush is round(input * to_hz / from_hz) samples (a half rounds
    up), in time with the input: output sample k stands at input time k / to_hz. Only the delivery is late,
    by up to about 1,000 samples of the lower rate (20 ms at 48 kHz): that is what `flush` brings.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = None
        if from_hz != to_hz:
            self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def process(self, samples: FloatArray) -> FloatArray:
        """Return the output that is ready, often none for the first blocks."""
        if self._stream is None or not samples.size:
            return samples
        out: FloatArray = self._stream.resample_chunk(samples)
        return out

    def flush(self) -> FloatArray:
        """Return the output still held back, and start anew."""
        nothing = np.zeros(0, dtype=np.float32)
        if self._stream is None:
            return nothing
        tail: FloatArray = self._stream.resample_chunk(nothing, last=True)
        self._stream.clear()
        return tail


class StuckDetector:
    """Tells a muted or broken input from a quiet room: the very same value for `seconds`."""

    def __init__(self, seconds: float, rate_hz: int) -> None:
        self._limit = max(1, round(seconds * rate_hz))
        self._value: np.float32 | None = None
        self._run = 0

    @property
    def stuck(self) -> bool:
        """Whether the last `seconds` held one value only."""
        return self._run >= self._limit

    @property
    def silent(self) -> bool:
        """Whether the value that repeats is exactly zero."""
        return self._value == 0.0

    def process(self, samples: FloatArray) -> bool:
        """Take the next samples, of any number; return `stuck`."""
        if samples.size:
            last = samples[-1]
            changes = np.flatnonzero(samples != last)
            if changes.size:
                self._run = samples.size - 1 - int(changes[-1])
            elif last == self._value:
                self._run += samples.size
            else:
                self._run = samples.size
            self._value = last
        return self.stuck
