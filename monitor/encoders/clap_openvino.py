"""CLAP's rewritten audio tower as an OpenVINO graph, for processors: the extra `openvino`."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monitor.encoders.clap_audio import (
    GELU,
    TOLERANCE,
    AudioTower,
    Block,
    Tower,
    difference,
)
from monitor.encoders.clap_grid import UnrecognisedTowerError
from monitor.encoders.openvino_graph import Calculate, Node, affine, axes, compiled, ops, reshape
from monitor.types import FloatArray

logger = logging.getLogger(__name__)

HALF_TOLERANCE = 0.02
"""The same as TOLERANCE, of half-precision arithmetic."""


class OpenvinoTower:
    """An `AudioTower` of its own weights, one image at a time: more together are no faster."""

    def __init__(self, tower: AudioTower, threads: int, dtype: str) -> None:
        self._image = tower.image
        self._frames = tower.frames
        self._calculate = _graph(tower, threads, dtype)

    def place(self, device: torch.device, _dtype: torch.dtype) -> None:
        """Stay where it is."""
        if device.type != "cpu":
            msg = f"a graph for the processor can't be placed on {device}"
            raise ValueError(msg)

    def __call__(self, log_mel: Tensor) -> Tensor:
        """Embed (B, frames, mels) float32 decibels: (B, D) float32, of any length."""
        if log_mel.shape[1] != self._frames:
            msg = f"{log_mel.shape[1]} frames where {self._frames} belong"
            raise ValueError(msg)
        rows = [self._calculate(self._image(row[None]).numpy())[0] for row in log_mel]
        return torch.from_numpy(np.concatenate(rows))


def on_openvino(tower: Tower, threads: int, dtype: str, mels: int) -> Tower:
    """Turn a tower on the CPU, in float32, into a graph; where that can't be done, warn and return it."""
    reason = "its structure isn't recognised"
    if isinstance(tower, AudioTower):
        try:
            graph = OpenvinoTower(tower, threads, dtype)
        except UnrecognisedTowerError as error:
            reason = str(error)
        else:
            tolerance = TOLERANCE if dtype == "float32" else HALF_TOLERANCE
            if difference(graph, tower, tower.frames, mels) <= tolerance:
                return graph
            reason = "its results differ"
    logger.warning("OpenVINO can't calculate this audio tower (%s); using torch, which is slower", reason)
    return tower


@torch.inference_mode()
def _graph(tower: AudioTower, threads: int, dtype: str) -> Calculate:
    image = ops.parameter([tower.image.side**2, tower.embed.in_features], np.float32)
    x = _norm(_linear(image, tower.embed), tower.embed_norm)
    for step, rows in zip(tower.steps, tower.gathers(1, torch.device("cpu")), strict=True):
        if rows is not None:
            x = ops.gather(x, rows.numpy(), axes(0))
        x = _block(x, step) if isinstance(step, Block) else _merge(x, step)
    pooled = ops.reduce_mean(_norm(x, tower.norm), axes(0), keep_dims=True)
    hidden = _activated(_linear(pooled, tower.projection.linear1), tower.projection.activation)
    return compiled([image], [_linear(hidden, tower.projection.linear2)], threads, dtype)


def _block(x: Node, block: Any) -> Node:
    width = block.out.in_features
    qkv = _linear(_norm(x, block.norm_attention), block.qkv)
    shape = (-1, block.tokens, 3, block.heads, width // block.heads)
    parts = ops.transpose(reshape(qkv, shape), axes([2, 0, 3, 1, 4]))
    query, key, value = (ops.gather(parts, axes(index), axes(0)) for index in range(3))
    heard = ops.scaled_dot_product_attention(query, key, value, _array(block.biases_of_windows()))
    heard = reshape(ops.transpose(heard, axes([0, 2, 1, 3])), (-1, width))
    x = ops.add(x, _linear(heard, block.out))
    inner = _activated(_linear(_norm(x, block.norm_mlp), block.expand), block.activation)
    return ops.add(x, _linear(inner, block.contract))


def _merge(x: Node, merge: Any) -> Node:
    return _linear(_norm(reshape(x, (-1, merge.reduction.in_features)), merge.norm), merge.reduction)


def _array(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.detach().numpy()
    return array


def _linear(x: Node, layer: Any) -> Node:
    return affine(x, _array(layer.weight), None if layer.bias is None else _array(layer.bias))


def _norm(x: Node, layer: Any) -> Node:
    if isinstance(layer, nn.Identity):
        return x
    plain = ops.mvn(x, axes([-1]), normalize_variance=True, eps=layer.eps, eps_mode="inside_sqrt")
    return ops.add(ops.multiply(plain, _array(layer.weight)), _array(layer.bias))


def _activated(x: Node, activation: Any) -> Node:
    kind = type(activation).__name__
    if kind == "ReLU":
        return ops.relu(x)
    if kind in GELU:
        return ops.gelu(x, "erf")
    msg = f"activation {kind}"
    raise UnrecognisedTowerError(msg)
