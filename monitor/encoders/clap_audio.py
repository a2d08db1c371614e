"""CLAP's audio tower, rewritten to do nothing twice; equal to transformers' own.

Tokens are kept in the order in which the next block attends: window by window, and within a window image by
image. So a cyclic shift, a partition or a patch merge is one gather, and a batch needs no copies of the shift
masks; they, the position biases and the stretch to the image's size are calculated once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from monitor.encoders.clap_grid import Grid, UnrecognisedTowerError, merged, move

logger = logging.getLogger(__name__)

TOKENS_PER_THREAD = 1024
"""Of a CPU: so that what a thread works at stays in its cache, and little memory is taken."""
TOKENS_ON_GPU = 1 << 18
"""64 images of the largest stage: enough to fill any GPU; more would only take memory."""
TOLERANCE = 1e-5
"""Largest difference of a unit-length embedding from transformers' own that passes for rounding."""

GELU = ("GELU", "GELUActivation")
"""Names of the exact GELU: torch's and transformers'."""


class Tower(Protocol):
    """Log-mel in, embedding out."""

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the weights, and calculate in `dtype` from now on."""

    def __call__(self, log_mel: Tensor) -> Tensor:
        """Embed (B, frames, mels) float32 decibels: (B, D) float32, of any length."""


class Block(nn.Module):
    """One transformer block of one stage; tokens stay in its grid's order."""

    def __init__(self, layer: Any, grid: Grid) -> None:
        super().__init__()
        attention = layer.attention.self
        self.heads: int = attention.num_attention_heads
        self.tokens = grid.window**2
        self.norm_attention = layer.layernorm_before
        self.qkv = _side_by_side([attention.query, attention.key, attention.value])
        self.out = layer.attention.output.dense
        self.norm_mlp = layer.layernorm_after
        self.expand = layer.intermediate.dense
        self.activation = layer.intermediate.intermediate_act_fn
        self.contract = layer.output.dense
        index = attention.relative_position_index
        if tuple(index.shape) != (self.tokens, self.tokens):
            msg = f"position biases of shape {tuple(index.shape)} for windows of {self.tokens} tokens"
            raise UnrecognisedTowerError(msg)
        bias = attention.relative_position_bias_table.detach()[index].permute(2, 0, 1)
        groups = grid.groups()
        self.counts = [len(places) for places, _ in groups]
        self.biases = nn.Buffer(torch.stack([bias + mask for _, mask in groups])[:, None])

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """Change tokens (windows * batch * tokens, C) in place."""
        tokens = TOKENS_PER_THREAD * torch.get_num_threads() if x.is_cpu else TOKENS_ON_GPU
        at_once = max(1, tokens // self.tokens) * self.tokens
        start = 0
        for count, bias in zip(self.counts, self.biases, strict=True):
            rows = slice(start, start := start + count * batch * self.tokens)
            for part in torch.split(x[rows], at_once):
                part.add_(self._attend(self.norm_attention(part), bias))
                part.add_(self.contract(self.activation(self.expand(self.norm_mlp(part)))))
        return x

    def biases_of_windows(self) -> Tensor:
        """Position biases and masks of an image's windows: (windows, heads, tokens, tokens), or (1, ...)."""
        if len(self.counts) == 1:
            return self.biases[0]
        return torch.cat(
            [bias.expand(n, -1, -1, -1) for n, bias in zip(self.counts, self.biases, strict=True)]
        )

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        qkv = self.qkv(x).view(-1, self.tokens, 3, self.heads, x.shape[1] // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(query, key, value, bias)
        result: Tensor = self.out(heard.transpose(1, 2).reshape(x.shape))
        return result


class Merge(nn.Module):
    """Four tokens to one of twice the channels."""

    def __init__(self, merging: Any) -> None:
        super().__init__()
        self.norm = merging.norm
        self.reduction = merging.reduction

    def forward(self, x: Tensor, _batch: int) -> Tensor:
        """(4 N, C), each four in a row, to (N, 2 C)."""
        reduced: Tensor = self.reduction(self.norm(x.view(-1, 4 * x.shape[1])))
        return reduced


def _side_by_side(layers: Sequence[nn.Linear]) -> nn.Linear:
    has_bias = layers[0].bias is not None
    with torch.device("meta"):
        joined = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), bias=has_bias)
    joined.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    if has_bias:
        joined.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    return joined


def _resizing(size_in: int, size_out: int) -> Tensor:
    """Return torch's bicubic interpolation with aligned corners as a matrix (size_out, size_in)."""
    if size_in > size_out:
        msg = f"{size_in} frames don't fit into {size_out}"
        raise UnrecognisedTowerError(msg)
    unit = torch.eye(size_in)
    if size_in == size_out:
        return unit
    return F.interpolate(unit[None, None], (size_out, size_in), mode="bicubic", align_corners=True)[0, 0]


class _MelImage(nn.Module):
    """Log-mel to patches: batch norm and the stretch to the image's size, always in float32."""

    def __init__(self, encoder: Any, frames: int, grid: Grid) -> None:
        super().__init__()
        norm = encoder.batch_norm
        self.folds: int = encoder.freq_ratio
        self.patch: int = encoder.patch_stride[0]
        self.side, self.window = grid.side, grid.window
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        self.scale = nn.Buffer(scale)
        self.shift = nn.Buffer(norm.bias.detach() - norm.running_mean * scale)
        self.stretch = nn.Buffer(_resizing(frames, encoder.spec_size * self.folds))

    def forward(self, log_mel: Tensor) -> Tensor:
        """(B, frames, mels) in dB to (windows * B * tokens, patch * patch)."""
        # The stretch's rows sum to 1, so that it may come before the shift.
        scaled = (log_mel * self.scale).to(self.stretch.dtype)
        image: Tensor = torch.matmul(self.stretch, scaled) + self.shift
        batch, patch, window = len(log_mel), self.patch, self.window
        # (B, folds, columns, patch time, rows, patch mels): the folds of time lie below one another.
        patches = image.view(batch, self.folds, self.side, patch, -1, patch).permute(0, 1, 4, 2, 5, 3)
        count = self.side // window
        windows = patches.reshape(batch, count, window, count, window, patch**2)
        return windows.permute(1, 3, 0, 2, 4, 5).reshape(-1, patch**2)

    def halve(self) -> None:
        """Stretch in float16, also before bfloat16: decibels need digits rather than range."""
        frames = self.stretch.shape[1]
        # A GPU wants rows that begin at multiples of 16 bytes.
        padded = F.pad(self.stretch, (0, -frames % 8)).to(torch.float16)
        self.stretch = nn.Buffer(padded[:, :frames])


class AudioTower(nn.Module):
    """HTSAT and its projection, built of the weights of a loaded `ClapAudioModelWithProjection` or alike."""

    def __init__(self, model: Any, frames: int) -> None:
        super().__init__()
        encoder = model.audio_model.audio_encoder
        self.frames = frames
        sides = [side for side, _ in encoder.input_resolutions]
        grids = [
            [Grid(side, min(block.window_size, side), _shift(block, side)) for block in stage.blocks]
            for side, stage in zip(sides, encoder.layers, strict=True)
        ]
        self.image = _MelImage(encoder, frames, grids[0][0])
        embed = encoder.patch_embed
        with torch.device("meta"):
            self.embed = nn.Linear(self.image.patch**2, embed.proj.out_channels)
        self.embed.weight = nn.Parameter(embed.proj.weight.detach().flatten(1), requires_grad=False)
        self.embed.bias = embed.proj.bias
        self.embed_norm = embed.norm
        self.steps = nn.ModuleList()
        self._moves: list[Callable[[int], Tensor] | None] = []
        here = grids[0][0]
        for depth, stage in enumerate(encoder.layers):
            for block, grid in zip(stage.blocks, grids[depth], strict=True):
                self._moves.append(move(here, grid.order()) if here != grid else None)
                self.steps.append(Block(block, grid))
                here = grid
            if stage.downsample is not None:
                below = grids[depth + 1][0]
                self._moves.append(move(here, merged(here.side, below.order())))
                self.steps.append(Merge(stage.downsample))
                here = below
        self._last = here
        self.norm = encoder.norm
        self.projection = model.audio_projection
        self._rows: dict[int, list[Tensor | None]] = {}
        self.requires_grad_(requires_grad=False).eval()

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the weights, and calculate in `dtype` from the first matrix product on."""
        self._rows.clear()
        image = self.image.to(device)
        del self.image  # its numbers must not be rounded and widened again
        self.to(device, dtype)
        self.image = image

    def forward(self, log_mel: Tensor) -> Tensor:
        """Embed (B, frames, mels) float32 decibels: (B, D) float32, of any length."""
        batch = log_mel.shape[0]
        x = self.embed_norm(self.patches(log_mel))
        for step, rows in zip(self.steps, self.gathers(batch, x.device), strict=True):
            x = step(x if rows is None else x.index_select(0, rows), batch)
        return self.pooled(x, batch)

    def patches(self, log_mel: Tensor) -> Tensor:
        """(B, frames, mels) decibels to tokens (N, C), in the first step's order."""
        if log_mel.shape[1] != self.frames:
            # Anything shorter would be stretched without a word.
            msg = f"{log_mel.shape[1]} frames where {self.frames} belong"
            raise ValueError(msg)
        embedded: Tensor = self.embed(self.image(log_mel).to(self.embed.weight.dtype))
        return embedded

    def pooled(self, x: Tensor, batch: int) -> Tensor:
        """Turn what the last step leaves, (N, C), into embeddings (B, D) float32."""
        tokens = self._last.window**2
        pooled = self.norm(x).view(-1, batch, tokens, x.shape[1]).mean(dim=(0, 2))
        embeddings: Tensor = self.projection(pooled)
        return embeddings.float()

    def gathers(self, batch: int, device: torch.device) -> list[Tensor | None]:
        """Return, for each step, the rows that it takes up, in its order; None for all as they are."""
        if batch not in self._rows:
            self._rows[batch] = [move and move(batch).to(device) for move in self._moves]
        return self._rows[batch]


class OriginalTower(nn.Module):
    """Transformers' own audio tower, for checkpoints whose structure isn't recognised."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the weights, and calculate in `dtype` from now on."""
        self.model.to(device, dtype)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Embed (B, frames, mels) float32 decibels: (B, D) float32, of any length."""
        features = log_mel[:, None].to(self.model.dtype)
        embeddings: Tensor = self.model(input_features=features).audio_embeds
        return embeddings.float()


def _shift(block: Any, side: int) -> int:
    # Transformers turns the shift off, at run time, where one window covers the image.
    return 0 if side <= block.window_size else int(block.shift_size)


def _recognise(model: Any) -> None:
    """Raise unless every part that is read, and nothing else, is there."""
    config = model.config
    encoder = model.audio_model.audio_encoder
    embed = encoder.patch_embed
    if config.enable_fusion or not embed.flatten:
        msg = "fusion or unflattened patches"
        raise UnrecognisedTowerError(msg)
    patch = embed.patch_stride[0]
    convolution = (embed.proj.in_channels, embed.proj.kernel_size, embed.proj.stride, embed.proj.padding)
    if convolution != (1, (patch, patch), (patch, patch), (0, 0)):
        msg = f"overlapping or multi-channel patches: {embed.proj}"
        raise UnrecognisedTowerError(msg)
    if (
        any(high != wide for high, wide in encoder.input_resolutions)
        or config.spec_size % config.num_mel_bins
    ):
        msg = f"an oblong image, or one of {config.num_mel_bins} bands"
        raise UnrecognisedTowerError(msg)


@torch.inference_mode()
def difference(tower: Callable[[Tensor], Tensor], original: Tower, frames: int, mels: int) -> float:
    """Return the largest difference of two towers' unit-length embeddings of a trial input."""
    noise = torch.randn(1, frames, mels, generator=torch.Generator().manual_seed(0))
    log_mel = 20.0 * noise - 40.0
    ours, theirs = (F.normalize(each(log_mel), dim=-1) for each in (tower, original))
    return float((ours - theirs).abs().max())


def rewrite(model: Any, frames: int) -> AudioTower:
    """Rewrite a model of the parts and names that a checkpoint has; its weights are taken over.

    Raises UnrecognisedTowerError where the structure isn't the one known.
    """
    try:
        _recognise(model)
        return AudioTower(model, frames)
    except AttributeError as error:
        raise UnrecognisedTowerError(str(error)) from error


def build_tower(model: Any, frames: int) -> Tower:
    """Rewrite a loaded `ClapAudioModelWithProjection` (CPU, float32); its weights are taken over.

    Where the structure isn't recognised, or the results for a trial input differ, the original is returned,
    with a warning.
    """
    original = OriginalTower(model)
    try:
        tower = rewrite(model, frames)
    except UnrecognisedTowerError as error:
        reason = str(error)
    else:
        if difference(tower, original, frames, model.config.num_mel_bins) <= TOLERANCE:
            return tower
        reason = "its results differ"
    logger.warning(
        "this audio tower isn't one that can be sped up (%s); using transformers' own, which is slower",
        reason,
    )
    return original
