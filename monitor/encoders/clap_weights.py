"""CLAP's towers as a checkpoint names their parts, filled from its safetensors.

Transformers' own model classes would do, but importing them takes 120 MB of memory and some seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from monitor.encoders.clap_grid import UnrecognisedTowerError

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
CONSTANT = ("position_ids", "token_type_ids")
"""Ends of names of what some checkpoints hold, and others leave to be counted."""


def parts(**named: nn.Module) -> Any:
    """Return a module of named parts."""
    module = nn.Module()
    for name, part in named.items():
        module.add_module(name, part)
    return module


def activation(name: str) -> nn.Module:
    """Return an activation by its name in a configuration."""
    if name not in ACTIVATIONS:
        msg = f"activation {name!r}"
        raise UnrecognisedTowerError(msg)
    return ACTIVATIONS[name]()


def projection(config: Any) -> nn.Sequential:
    """Return what leads from either tower to the common space, its parts named as in a checkpoint."""
    layers = nn.Sequential()
    layers.add_module("linear1", nn.Linear(config.hidden_size, config.projection_dim))
    layers.add_module("activation", activation(config.projection_hidden_act))
    layers.add_module("linear2", nn.Linear(config.projection_dim, config.projection_dim))
    return layers


def audio_side(config: Any) -> Any:
    """Return what `AudioTower` is built of: HTSAT, its projection and its scale, without a forward."""
    widths = [config.patch_embeds_hidden_size << depth for depth in range(len(config.depths))]
    patch_norm = nn.LayerNorm(widths[0]) if config.enable_patch_layer_norm else nn.Identity()
    patch, stride = _pair(config.patch_size), _pair(config.patch_stride)
    encoder = parts(
        patch_embed=parts(
            proj=nn.Conv2d(config.patch_embed_input_channels, widths[0], patch, stride), norm=patch_norm
        ),
        layers=nn.ModuleList(
            _stage(config, width, *rest, last=width == widths[-1])
            for width, *rest in zip(widths, config.depths, config.num_attention_heads, strict=True)
        ),
        batch_norm=nn.BatchNorm2d(config.num_mel_bins),
        norm=nn.LayerNorm(widths[-1]),
    )
    encoder.patch_embed.flatten = config.flatten_patch_embeds
    encoder.patch_embed.patch_stride = encoder.patch_stride = stride
    encoder.spec_size = config.spec_size
    encoder.freq_ratio = config.spec_size // config.num_mel_bins
    sides = [tuple(config.spec_size // each >> depth for each in stride) for depth in range(len(widths))]
    encoder.input_resolutions = sides
    side = parts(audio_model=parts(audio_encoder=encoder), audio_projection=projection(config))
    side.logit_scale_a = nn.Parameter(torch.empty(()))
    side.config = config
    return side


def _stage(config: Any, width: int, depth: int, heads: int, *, last: bool) -> Any:
    stage = parts(blocks=nn.ModuleList(_block(config, width, heads) for _ in range(depth)))
    for index, block in enumerate(stage.blocks):
        block.shift_size = config.window_size // 2 if index % 2 else 0
    stage.downsample = (
        None
        if last
        else parts(norm=nn.LayerNorm(4 * width), reduction=nn.Linear(4 * width, 2 * width, bias=False))
    )
    return stage


def _block(config: Any, width: int, heads: int) -> Any:
    inner, window = int(config.mlp_ratio * width), config.window_size
    attention = parts(**{n: nn.Linear(width, width, bias=config.qkv_bias) for n in ("query", "key", "value")})
    attention.num_attention_heads = heads
    attention.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
    attention.relative_position_index = nn.Buffer(torch.empty(window**2, window**2, dtype=torch.long))
    block = parts(
        layernorm_before=nn.LayerNorm(width, config.layer_norm_eps),
        attention=parts(self=attention, output=parts(dense=nn.Linear(width, width))),
        layernorm_after=nn.LayerNorm(width, config.layer_norm_eps),
        intermediate=parts(dense=nn.Linear(width, inner), intermediate_act_fn=activation(config.hidden_act)),
        output=parts(dense=nn.Linear(inner, width)),
    )
    block.window_size = window
    return block


def _pair(size: Any) -> tuple[int, int]:
    high, wide = (size, size) if isinstance(size, int) else size
    return high, wide


def fill(model: nn.Module, folder: Path) -> None:
    """Take the weights of a model without any from a checkpoint's safetensors: float32, mapped to the files.

    Raises UnrecognisedTowerError unless all of them, and no others of their kind, are there.
    """
    wanted = model.state_dict()
    kinds = tuple(f"{name}." for name, _ in model.named_children())
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("model-*.safetensors"))
    if not files:
        msg = "its weights are pickled"
        raise UnrecognisedTowerError(msg)
    found: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dictionary
                if name in wanted or (name.startswith(kinds) and not name.endswith(CONSTANT)):
                    found[name] = opened.get_tensor(name)
    if strange := [
        name
        for name in sorted(wanted.keys() | found.keys())
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape
    ]:
        msg = f"{len(strange)} of its weights are missing, unknown or of another size, {strange[0]} for one"
        raise UnrecognisedTowerError(msg)
    model.load_state_dict(
        {name: each.float() if each.is_floating_point() else each for name, each in found.items()},
        assign=True,
    )
