"""CLAP's audio tower in kernels of its own, for GPUs: one multiplies matrices, one attends.

A GPU spends most of its time on the way to its memory here. So gathers, layer norms, activations and
residuals are done where a matrix product has its numbers at hand, instead of in passes of their own. A layer
norm before a product needs no more than each row's sum and sum of squares, which what made the rows leaves.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor, nn

from monitor.encoders import clap_kernels as kernels
from monitor.encoders.clap_audio import GELU, TOLERANCE, AudioTower, Block, Tower, difference
from monitor.encoders.clap_grid import UnrecognisedTowerError

logger = logging.getLogger(__name__)

HALF_TOLERANCE = 0.02
"""The same as TOLERANCE, of half-precision arithmetic."""
LOG2_E = math.log2(math.e)
MOST_TOKENS = 64
"""Of an attention window: their scores must fit into registers."""
IMAGES = 4
"""That one program attends in, one after the other, with the same position biases."""
NORMALISED_AT_ONCE = 16
"""Rows."""


OLDEST = (8, 0)
"""Compute capability (Ampere) from which Triton's products use tensor cores."""


@dataclass(frozen=True)
class _Tile:
    """What one program multiplies: on Hopper the fastest of eight, where the channels are few."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype, channels: int) -> _Tile:
        """Choose for so many channels of each token."""
        if dtype == torch.float32:
            # Exact products take three times the registers where tensor cores read from those only.
            return cls(128, 128 if _reads_shared_memory(device) else 64, 32, 8, 3)
        if channels % 64:
            return cls(64, 128, 32, 4, 4)
        return cls(128, 128, 64, 8, 3)


def _reads_shared_memory(device: torch.device) -> bool:
    """Tell whether tensor cores do: Hopper's, and those of Blackwell's servers."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in {9, 10}


@dataclass(frozen=True)
class _Rows:
    """Tokens, and what the next layer norm needs to know of them."""

    values: Tensor
    """(N, C)."""
    sums: Tensor
    """(N, parts, 2) float32: sums and sums of squares of parts of each row."""


class _Linear:
    """A linear layer, with the layer norm before it."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, norm: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        if norm is not None:
            bias = bias + weight @ norm.bias.detach()
            weight = weight * norm.weight.detach()
        self.epsilon = 0.0 if norm is None else float(norm.eps)
        self.weight = weight.to(device, dtype).contiguous()
        # Of the rounded weights, so that a row's mean, a multiple of ones, is taken out to the last digit.
        self.weight_sums = self.weight.float().sum(dim=1) if norm is not None else None
        self.bias = bias.to(device, torch.float32)

    def __call__(
        self,
        x: Tensor,
        *,
        rows: Tensor | None = None,
        group: int = 1,
        sums: Tensor | None = None,
        gelu: bool = False,
        residual: Tensor | None = None,
        residual_rows: Tensor | None = None,
        summed: bool = False,
    ) -> _Rows:
        """(N, C) to (height, width); `rows` names the rows to take up, of which `group` make one."""
        width, depth = self.weight.shape
        channels = depth // group
        height = (len(x) if rows is None else len(rows)) // group
        tile = _Tile.of(x.device, x.dtype, channels)
        blocks = triton.cdiv(width, tile.columns)
        out = x.new_empty(height, width)
        out_sums = torch.empty(height, blocks, 2, device=x.device) if summed else None
        step = min(tile.depth, max(16, triton.next_power_of_2(channels)))
        unused = self.bias
        kernels.multiply[(triton.cdiv(height, tile.rows) * blocks,)](
            x,
            _first(rows, residual_rows, unused),
            _first(sums, unused),
            self.weight,
            self.bias,
            _first(self.weight_sums, unused),
            _first(residual, unused),
            out,
            _first(out_sums, unused),
            height,
            width,
            channels,
            1 if sums is None else sums.shape[1],
            self.epsilon,
            GATHER=rows is not None,
            GROUP=group,
            NORM=sums is not None,
            GELU=0 if not gelu else 1 if x.dtype == torch.float32 else 2,
            RESIDUAL=0 if residual is None else 1 if residual_rows is None else 2,
            SUMS=summed,
            EVEN=channels % step == 0,
            PRECISION=_precision(x.dtype),
            BM=tile.rows,
            BN=tile.columns,
            BK=step,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return _Rows(out, _first(out_sums, unused))


def _first(*tensors: Tensor | None) -> Tensor:
    """Return the first that is there: a kernel's argument can't be absent."""
    return next(tensor for tensor in tensors if tensor is not None)


def _precision(dtype: torch.dtype) -> str:
    return "tf32x3" if dtype == torch.float32 else "tf32"


class _FusedBlock:
    def __init__(self, block: Block, device: torch.device, dtype: torch.dtype) -> None:
        if block.tokens > MOST_TOKENS or block.tokens & (block.tokens - 1) or block.tokens < 16:
            msg = f"attention windows of {block.tokens} tokens"
            raise UnrecognisedTowerError(msg)
        if type(block.activation).__name__ not in GELU:
            msg = f"activation {type(block.activation).__name__}"
            raise UnrecognisedTowerError(msg)
        width = block.out.in_features
        self.heads, self.tokens, self.width = block.heads, block.tokens, width // block.heads
        # (3, heads, channels) to (heads, 3, channels): a head's own lie together.
        order = torch.arange(3 * width).view(3, block.heads, -1).transpose(0, 1).flatten()
        factor = torch.ones(3 * width)
        factor[:width] = LOG2_E / self.width**0.5
        weight = (block.qkv.weight.detach() * factor[:, None])[order]
        bias = None if block.qkv.bias is None else (block.qkv.bias.detach() * factor)[order]
        self.qkv = _Linear(weight, bias, block.norm_attention, device, dtype)
        self.out = _linear(block.out, None, device, dtype)
        self.expand = _linear(block.expand, block.norm_mlp, device, dtype)
        self.contract = _linear(block.contract, None, device, dtype)
        self.biases = (LOG2_E * block.biases[:, 0]).to(device, dtype).contiguous()
        kinds = [kind for kind, count in enumerate(block.counts) for _ in range(count)]
        self.kinds = torch.tensor(kinds, dtype=torch.int32, device=device)

    def __call__(self, x: _Rows, rows: Tensor | None, batch: int) -> _Rows:
        qkv = self.qkv(x.values, rows=rows, sums=x.sums).values
        heard = torch.empty_like(qkv[:, : x.values.shape[1]], memory_format=torch.contiguous_format)
        kernels.attend[(self.heads, len(self.kinds) * triton.cdiv(batch, IMAGES))](
            qkv,
            self.biases,
            self.kinds,
            heard,
            batch,
            self.heads,
            TOKENS=self.tokens,
            WIDTH=self.width,
            PADDED=max(16, triton.next_power_of_2(self.width)),
            IMAGES=IMAGES,
            PRECISION=_precision(qkv.dtype),
            num_warps=4,
        )
        x = self.out(heard, residual=x.values, residual_rows=rows, summed=True)
        hidden = self.expand(x.values, sums=x.sums, gelu=True).values
        return self.contract(hidden, residual=x.values, summed=True)


class _FusedMerge:
    def __init__(self, merge: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.reduction = _linear(merge.reduction, merge.norm, device, dtype)

    def __call__(self, x: _Rows, rows: Tensor | None, _batch: int) -> _Rows:
        return self.reduction(x.values, rows=rows, group=4, sums=x.sums, summed=True)


def _linear(layer: nn.Linear, norm: Any, device: torch.device, dtype: torch.dtype) -> _Linear:
    return _Linear(layer.weight.detach(), layer.bias, norm, device, dtype)


class TritonTower:
    """An `AudioTower` calculated by kernels of its own."""

    def __init__(self, tower: AudioTower, device: torch.device, dtype: torch.dtype) -> None:
        """Build of a tower on the CPU, in float32, which stays as it is."""
        self._steps = [
            _FusedBlock(step, device, dtype) if isinstance(step, Block) else _FusedMerge(step, device, dtype)
            for step in tower.steps
        ]
        self._ends = _without_steps(tower)
        self._ends.place(device, dtype)
        if dtype != torch.float32:
            self._ends.image.halve()
        self._device = device

    def place(self, device: torch.device, _dtype: torch.dtype) -> None:
        """Stay where it is."""
        if device != self._device:
            msg = f"a tower on {self._device} can't be placed on {device}"
            raise ValueError(msg)

    def __call__(self, log_mel: Tensor) -> Tensor:
        """Embed (B, frames, mels) float32 decibels: (B, D) float32, of any length."""
        batch = len(log_mel)
        x = _normalised(self._ends.patches(log_mel), self._ends.embed_norm)
        for step, rows in zip(self._steps, self._ends.gathers(batch, self._device), strict=True):
            x = step(x, rows, batch)
        return self._ends.pooled(x.values, batch)


def _without_steps(tower: AudioTower) -> AudioTower:
    steps, tower.steps = tower.steps, nn.ModuleList()
    try:
        return copy.deepcopy(tower)
    finally:
        tower.steps = steps


def _normalised(x: Tensor, norm: nn.Module) -> _Rows:
    """Layer norm, which the first block's own then follows."""
    if not isinstance(norm, nn.LayerNorm):
        squares = torch.linalg.vector_norm(x, dim=1, dtype=torch.float32).square()
        return _Rows(x, torch.stack((x.sum(dim=1, dtype=torch.float32), squares), dim=-1)[:, None])
    height, width = x.shape
    result = _Rows(torch.empty_like(x), torch.empty(height, 1, 2, device=x.device))
    kernels.normalise[(triton.cdiv(height, NORMALISED_AT_ONCE),)](
        x,
        norm.weight,
        norm.bias,
        result.values,
        result.sums,
        height,
        width,
        norm.eps,
        ROWS=NORMALISED_AT_ONCE,
        WIDTH=triton.next_power_of_2(width),
        num_warps=4,
    )
    return result


def on_triton(tower: Tower, device: torch.device, dtype: torch.dtype, mels: int) -> Tower:
    """Build a tower on the CPU, in float32, anew on a GPU; where that can't be done, warn and return it."""
    if not isinstance(tower, AudioTower):
        return tower
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST:
        logger.info("this GPU is too old for Triton's kernels; using torch")
        return tower
    try:
        fused = TritonTower(tower, device, dtype)
        tolerance = TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE
        if (
            difference(lambda log_mel: fused(log_mel.to(device)).cpu(), tower, tower.frames, mels)
            <= tolerance
        ):
            return fused
        reason = "its results differ"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - Triton's compilers have many, and torch does without
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    logger.warning("Triton can't calculate this audio tower (%s); using torch, which is slower", reason)
    return tower
