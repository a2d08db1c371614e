"""Reads a CLAP checkpoint's towers: ours where the structure is recognised, else transformers' own."""

from __future__ import annotations

import logging
from typing import Any

import torch

from monitor.encoders.clap_audio import Tower, build_tower, rewrite
from monitor.encoders.clap_checkpoint import Checkpoint, telling
from monitor.encoders.clap_grid import UnrecognisedTowerError
from monitor.encoders.clap_text import TextTower
from monitor.encoders.clap_weights import audio_side, fill

logger = logging.getLogger(__name__)


def read_audio(checkpoint: Checkpoint) -> tuple[Tower, float]:
    """Read the audio tower, in float32 on the CPU, and the scale of its logits."""
    frames = 1 + checkpoint.samples // checkpoint.features.hop
    try:
        with telling(checkpoint.name, "weights"):
            with torch.device("meta"):
                side = audio_side(checkpoint.config.audio_config)
            fill(side, checkpoint.folder)
            _unmap(side)
            tower: Tower = rewrite(side, frames)
    except UnrecognisedTowerError as error:
        _tell("audio", error)
        from monitor.encoders.clap_original import original_audio_side  # noqa: PLC0415 - takes 120 MB

        side = original_audio_side(checkpoint)
        with telling(checkpoint.name, "weights"):
            _unmap(side)
        tower = build_tower(side, frames)
    return tower, float(side.logit_scale_a.detach().exp())


def read_text(checkpoint: Checkpoint) -> Any:
    """Read the text tower: a module of token ids and mask, (B, L) each, with `longest` for L."""
    try:
        with telling(checkpoint.name, "weights"):
            with torch.device("meta"):
                tower = TextTower(checkpoint.config.text_config)
            fill(tower, checkpoint.folder)
            return tower.eval()
    except UnrecognisedTowerError as error:
        _tell("text", error)
        from monitor.encoders.clap_original import original_text_tower  # noqa: PLC0415 - takes 120 MB

        return original_text_tower(checkpoint)


def _tell(which: str, error: UnrecognisedTowerError) -> None:
    logger.info("transformers reads the %s tower (%s), which takes 120 MB more memory", which, error)


def _unmap(side: Any) -> None:
    """Else the weights stay mapped to the file, and die with whatever replaces it."""
    for weight in side.parameters():
        weight.data = weight.data.clone()
