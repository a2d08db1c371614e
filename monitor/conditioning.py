"""What is done to a source's sound before anything else sees it: gain and high-pass."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.config import SourceConfig
from monitor.pcm import frozen, peak_of, sanitised
from monitor.types import AudioBlock, FloatArray

_FULL_SCALE = 1.0 - 2.0**-14
_CHUNK = 128
# Single peaks at full scale are normal; more than this share, for this long in all, is a level set too high.
_CLIPPED_SHARE, _CLIPPED_SECONDS = 0.001, 0.05

Matrix = NDArray[np.float64]


class HighPass:
    """Butterworth filter of second order, 12 dB an octave; the same however the stream is cut.

    The biquad of the Audio EQ Cookbook with Q = 1/sqrt(2), as a state space that is solved for a chunk at a
    time: with state s before it, y = O s + T x, and the state after it is A^n s + K x.
    """

    def __init__(self, corner_hz: float, rate_hz: int) -> None:
        w = 2.0 * math.pi * corner_hz / rate_hz
        alpha = math.sin(w) / math.sqrt(2.0)
        b0 = (1.0 + math.cos(w)) / 2.0 / (1.0 + alpha)
        a1, a2 = -2.0 * math.cos(w) / (1.0 + alpha), (1.0 - alpha) / (1.0 + alpha)
        step = np.array([[-a1, 1.0], [-a2, 0.0]])
        enters = np.array([-2.0 * b0 - a1 * b0, b0 - a2 * b0])
        self._powers = [np.eye(2)]
        for _ in range(_CHUNK):
            self._powers.append(step @ self._powers[-1])
        self._observed: Matrix = np.array([power[0] for power in self._powers[:_CHUNK]])
        self._reached: Matrix = np.array([power @ enters for power in self._powers[_CHUNK - 1 :: -1]])
        response = np.concatenate(([b0], self._observed[:-1] @ enters))
        lags = np.subtract.outer(np.arange(_CHUNK), np.arange(_CHUNK))
        self._response: Matrix = np.where(lags >= 0, response[np.abs(lags)], 0.0)
        self._settled: Matrix = np.linalg.solve(np.eye(2) - step, enters)
        self._state: Matrix | None = None

    def reset(self) -> None:
        """Begin anew, as if the next sample had always been there: an offset makes no thump."""
        self._state = None

    def process(self, samples: FloatArray) -> FloatArray:
        """Return the next samples, filtered."""
        if not samples.size:
            return samples
        x = samples.astype(np.float64)
        state = self._settled * x[0] if self._state is None else self._state
        whole = len(x) // _CHUNK * _CHUNK
        chunks, rest = x[:whole].reshape(-1, _CHUNK), x[whole:]
        states, power = [], self._powers[_CHUNK]
        for reached in chunks @ self._reached:
            states.append(state)
            state = power @ state + reached
        out = [(chunks @ self._response.T).ravel()]
        if states:
            out[0] += (np.array(states) @ self._observed.T).ravel()
        if n := len(rest):
            out.append(self._observed[:n] @ state + self._response[:n, :n] @ rest)
            state = self._powers[n] @ state + rest @ self._reached[_CHUNK - n :]
        self._state = state
        return np.concatenate(out).astype(np.float32)


class Conditioner:
    """Gain and high-pass of one opening of a source. Nothing is clipped: the samples are floats."""

    def __init__(self, config: SourceConfig, rate_hz: int) -> None:
        self._gain = np.float32(10.0 ** (config.gain_db / 20.0))
        self._high_pass = None if config.high_pass_hz is None else HighPass(config.high_pass_hz, rate_hz)
        self._too_many = _CLIPPED_SECONDS * rate_hz
        self._excess = 0.0
        self.clipped = 0
        """Samples of the last block that came in at full scale, where converters clip."""

    @property
    def overdriven(self) -> bool:
        """Whether so many samples came in at full scale that the input's level must be too high."""
        return self._excess >= self._too_many

    def process(self, block: AudioBlock) -> AudioBlock:
        """Return the block as it is to be heard; blocks come in order."""
        samples = block.samples
        clips = peak_of(samples) >= _FULL_SCALE
        self.clipped = int(np.count_nonzero(np.abs(samples) >= _FULL_SCALE)) if clips else 0
        excess = self._excess + self.clipped - _CLIPPED_SHARE * len(samples)
        self._excess = min(max(excess, 0.0), 2.0 * self._too_many)
        if self._high_pass is None and self._gain == 1.0:
            return block
        samples = samples * self._gain
        if self._high_pass is not None:
            if block.gap:
                self._high_pass.reset()
            samples = self._high_pass.process(samples)
        return replace(block, samples=frozen(sanitised(samples)))
