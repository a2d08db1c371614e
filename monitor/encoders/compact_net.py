"""The compact encoder's audio network in plain arrays: a causal residual convolutional network over log-mel.

Nothing looks across time except convolutions, and those look back only (1.75 s in all), so a stream is
computed piece by piece: each convolution needs the last rows of its input (a part of the state), and none is
computed twice. Every convolution is one matrix product of patches, all tensors (B, T, F, C).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.lib.stride_tricks import as_strided
from threadpoolctl import threadpool_info

from monitor.types import FloatArray

STEP = 16
"""Log-mel frames per frame of the network: 0.16 s at CLAP's hop of 10 ms."""
FRAMES_AT_ONCE = 1024
"""Log-mel frames of all streams together whose patches stay in a processor's cache."""
FEW_ROWS, MANY_TERMS = 16, 256
"""Of a product that is faster tap by tap where OpenBLAS multiplies small matrices as they lie in memory."""
STRIDES = ((2, 2), (1, 1), (2, 2), (1, 1), (1, 2), (1, 1), (1, 1))
"""Of the blocks, over time and frequency."""
STEM_STRIDE = (4, 2)


@dataclass(frozen=True)
class NetConfig:
    """Widths of the network."""

    mels: int = 64
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    frame_width: int = 512
    hidden: int = 512
    dimensions: int = 256
    classes: int = 527
    mean_db: float = -43.0
    deviation_db: float = 32.0


def unit(vectors: FloatArray) -> FloatArray:
    """Scale rows to unit length; rows of zeros stay finite."""
    scaled: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
    return scaled


def relu(x: FloatArray) -> FloatArray:
    """Cut negative numbers off, in place."""
    return np.maximum(x, np.float32(0), out=x)


def by_tap(patches: FloatArray, taps: FloatArray) -> FloatArray:
    """Patches (N, T * C) times taps (T, C, outputs): (N, outputs)."""
    parts = patches.reshape(len(patches), *taps.shape[:2]).transpose(1, 0, 2) @ taps
    total: FloatArray = parts.sum(axis=0)
    return total


@cache
def multiplies_in_place() -> bool:
    """Tell whether numpy's OpenBLAS has kernels that spare small matrices the repacking."""
    return any(each.get("architecture") == "SkylakeX" for each in threadpool_info())


class Linear:
    """A matrix and what is added after it, from weights named `name.weight` (out, in) and `name.bias`."""

    def __init__(self, weights: Mapping[str, FloatArray], name: str) -> None:
        self._matrix = np.ascontiguousarray(weights[f"{name}.weight"].T)
        self._bias = weights[f"{name}.bias"]

    def __call__(self, x: FloatArray) -> FloatArray:
        """(..., in) to (..., out)."""
        result: FloatArray = x @ self._matrix
        result += self._bias
        return result


class _Conv:
    """Convolution whose output row i sees input rows up to (i + 1) * stride - 1."""

    def __init__(
        self,
        weights: Mapping[str, FloatArray],
        name: str,
        bands: int,
        stride: tuple[int, int] = (1, 1),
        *,
        padded: bool = True,
    ) -> None:
        """Take `name.conv.weight` (out, in, time, frequency) and its bias; `bands` come in."""
        weight = weights[f"{name}.conv.weight"]
        outputs, self._inputs, *kernel = weight.shape
        self._kernel = (kernel[0], kernel[1])
        self._stride = stride
        self._edge = kernel[1] // 2 if padded else 0
        self._taps = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, self._inputs, outputs)
        self._matrix = self._taps.reshape(-1, outputs)
        self._few = FEW_ROWS if len(self._matrix) >= MANY_TERMS and multiplies_in_place() else 0
        self._bias = weights[f"{name}.conv.bias"]
        self._past = kernel[0] - stride[0]
        self.bands = (bands + 2 * self._edge - kernel[1]) // stride[1] + 1
        self.state_shape = (self._past, bands, self._inputs)

    def __call__(self, x: FloatArray, state: Iterator[FloatArray]) -> FloatArray:
        """(B, T, F, C) to (B, T / stride, F', C'); the state's next part is read, then moved on in place."""
        batch, frames, bands, _ = x.shape
        past, edge = self._past, self._edge
        if past or edge:
            wide = np.zeros((batch, past + frames, bands + 2 * edge, self._inputs), dtype=np.float32)
            inside = wide[:, :, edge : edge + bands]
            inside[:, past:] = x
            if past:
                rows = next(state)
                inside[:, :past] = rows
                rows[...] = inside[:, frames:]
            x = wide
        of_batch, of_row, of_band, of_channel = x.strides
        over, across = self._stride
        patches = as_strided(
            x,
            (batch, frames // over, self.bands, *self._kernel, self._inputs),
            (of_batch, of_row * over, of_band * across, of_row, of_band, of_channel),
        )
        y = self._product(patches.reshape(-1, len(self._matrix)))
        y += self._bias
        return y.reshape(batch, frames // over, self.bands, -1)

    def _product(self, patches: FloatArray) -> FloatArray:
        if len(patches) > self._few:
            return patches @ self._matrix
        return by_tap(patches, self._taps)


class _Block:
    """Residual block: 3 x 3, then 1 x 3 (frequency only), with a 1 x 1 shortcut where the shape changes."""

    def __init__(
        self, weights: Mapping[str, FloatArray], name: str, bands: int, stride: tuple[int, int]
    ) -> None:
        self.first = _Conv(weights, f"{name}.first", bands, stride)
        self.second = _Conv(weights, f"{name}.second", self.first.bands)
        self._stride = stride
        shortcut = weights.get(f"{name}.shortcut.weight")
        # The mean over a stride is a part of the matrix.
        mean = np.float32(1.0 / (stride[0] * stride[1]))
        self._shortcut = None if shortcut is None else np.ascontiguousarray(mean * shortcut[:, :, 0, 0].T)

    def __call__(self, x: FloatArray, state: Iterator[FloatArray]) -> FloatArray:
        y = self.second(relu(self.first(x, state)), state)
        if self._shortcut is None:
            y += x
        else:
            over, across = self._stride
            parts = [x[:, row::over, band::across] for row in range(over) for band in range(across)]
            y += sum(parts[1:], parts[0]) @ self._shortcut
        return relu(y)


class CompactNet:
    """Log-mel frames to frame vectors (`frames`), and those to a window's embedding and class logits."""

    def __init__(self, config: NetConfig, weights: Mapping[str, FloatArray]) -> None:
        self.config = config
        self._stem = _Conv(weights, "stem", config.mels, STEM_STRIDE)
        self._blocks: list[_Block] = []
        bands = self._stem.bands
        for number, stride in enumerate(STRIDES):
            self._blocks.append(_Block(weights, f"blocks.{number}", bands, stride))
            bands = self._blocks[-1].second.bands
        self._frame = _Conv(weights, "frame", bands, padded=False)
        self._hidden = Linear(weights, "hidden")
        self._embedding = Linear(weights, "embedding")
        self._logits = Linear(weights, "logits")
        self._shapes = [self._stem.state_shape, *(block.first.state_shape for block in self._blocks)]
        sizes = [math.prod(shape) for shape in self._shapes]
        self._parts = [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]

    def start(self, batch: int = 1) -> FloatArray:
        """Return the state before which nothing is known, (batch, S): zeros, as in training."""
        return np.zeros((batch, self._parts[-1].stop), dtype=np.float32)

    def frames(self, decibels: FloatArray, state: FloatArray) -> FloatArray:
        """(B, T, mels) dB, T a multiple of STEP, to (B, T / STEP, frame_width); `state` is moved on."""
        batch, frames, _ = decibels.shape
        rows = min(batch, max(1, FRAMES_AT_ONCE // max(frames, STEP)))
        columns = max(1, FRAMES_AT_ONCE // rows // STEP) * STEP
        result = np.empty((batch, frames // STEP, self.config.frame_width), dtype=np.float32)
        for row in range(0, batch, rows):
            for column in range(0, frames, columns):
                part = decibels[row : row + rows, column : column + columns]
                y = self._piece(part, state[row : row + rows])
                result[row : row + rows, column // STEP :][:, : y.shape[1]] = y
        return result

    def _piece(self, decibels: FloatArray, state: FloatArray) -> FloatArray:
        parts = (
            state[:, part].reshape(-1, *shape) for part, shape in zip(self._parts, self._shapes, strict=True)
        )
        x = relu(self._stem(self._scaled(decibels)[..., None], parts))
        for block in self._blocks:
            x = block(x, parts)
        return relu(self._frame(x, parts))[:, :, 0]

    def _scaled(self, decibels: FloatArray) -> FloatArray:
        return (decibels - np.float32(self.config.mean_db)) * np.float32(1.0 / self.config.deviation_db)

    @staticmethod
    def summary(frames: FloatArray) -> FloatArray:
        """(T, frame_width) to the mean and the maximum over time, (2 * frame_width,)."""
        return np.concatenate([frames.mean(axis=0), frames.max(axis=0)])

    def head(self, summaries: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Summaries (B, 2 * frame_width) to unit directions (B, dimensions) and class logits (B, classes)."""
        hidden = relu(self._hidden(summaries))
        return unit(self._embedding(hidden)), self._logits(hidden)
