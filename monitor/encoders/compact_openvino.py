"""The compact encoder's audio network as an OpenVINO graph: the extra `openvino`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from monitor.encoders.compact_net import STEM_STRIDE, STRIDES, CompactNet, NetConfig
from monitor.encoders.openvino_graph import Node, axes, compiled, ops, reshape
from monitor.types import FloatArray


class CompactGraph(CompactNet):
    """A `CompactNet` whose frames are calculated by a graph; its states are its own."""

    def __init__(
        self, config: NetConfig, weights: Mapping[str, FloatArray], threads: int, dtype: str
    ) -> None:
        super().__init__(config, weights)
        mels = ops.parameter([-1, -1, config.mels], np.float32)
        state = ops.parameter([-1, self._parts[-1].stop], np.float32)
        builder = _Builder(weights, self._split(state))
        x = ops.unsqueeze(mels, axes(1))
        x = ops.relu(builder.convolution(x, "stem", STEM_STRIDE))
        for number, stride in enumerate(STRIDES):
            x = builder.block(x, f"blocks.{number}", stride)
        x = ops.relu(builder.convolution(x, "frame", (1, 1), padded=False))
        frames = ops.transpose(ops.squeeze(x, axes(3)), axes([0, 2, 1]))
        moved = ops.concat(builder.after, 1)
        self._calculate = compiled([mels, state], [frames, moved], threads, dtype)

    def _split(self, state: Node) -> Iterator[Node]:
        """Yield each convolution's past rows, (B, C, rows, F)."""
        for part, (rows, bands, channels) in zip(self._parts, self._shapes, strict=True):
            piece = ops.slice(state, axes([part.start]), axes([part.stop]), axes([1]), axes([1]))
            yield reshape(piece, (-1, channels, rows, bands))

    def _piece(self, decibels: FloatArray, state: FloatArray) -> FloatArray:
        frames, state[...] = self._calculate(self._scaled(decibels), state)
        return frames


class _Builder:
    def __init__(self, weights: Mapping[str, FloatArray], past: Iterator[Node]) -> None:
        self._weights = weights
        self._past = past
        self.after: list[Node] = []

    def convolution(self, x: Node, name: str, stride: tuple[int, int], *, padded: bool = True) -> Node:
        weight = self._weights[f"{name}.conv.weight"]
        rows, edge = weight.shape[2] - stride[0], weight.shape[3] // 2 if padded else 0
        if rows:
            x = ops.concat([next(self._past), x], 2)
            last = ops.slice(x, axes([-rows]), axes([1 << 30]), axes([1]), axes([2]))
            self.after.append(ops.reshape(last, np.array([0, -1]), special_zero=True))
        y = ops.convolution(x, weight, list(stride), [0, edge], [0, edge], [1, 1])
        return ops.add(y, self._weights[f"{name}.conv.bias"].reshape(1, -1, 1, 1))

    def block(self, x: Node, name: str, stride: tuple[int, int]) -> Node:
        y = ops.relu(self.convolution(x, f"{name}.first", stride))
        y = self.convolution(y, f"{name}.second", (1, 1))
        shortcut = self._weights.get(f"{name}.shortcut.weight")
        if shortcut is not None:
            if stride != (1, 1):
                x = ops.avg_pool(x, list(stride), [0, 0], [0, 0], list(stride), exclude_pad=True)
            x = ops.convolution(x, shortcut, [1, 1], [0, 0], [0, 0], [1, 1])
        return ops.relu(ops.add(y, x))
