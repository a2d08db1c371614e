"""Transformers' own towers, for checkpoints whose structure isn't recognised or which are pickled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import ClapAudioModelWithProjection, ClapTextModelWithProjection

from monitor.encoders.clap_checkpoint import Checkpoint, quiet, refusal, telling
from monitor.encoders.clap_text import longest


class _AudioSide(ClapAudioModelWithProjection):  # type: ignore[no-untyped-call]
    """The audio tower, its projection, and the scale that belongs to it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.logit_scale_a = nn.Parameter(torch.tensor(0.0))


class OriginalTextTower(nn.Module):
    """Token ids in, embeddings out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.longest = longest(model.config)

    def forward(self, ids: Tensor, attended: Tensor) -> Tensor:
        """Embed token ids (B, L), of which those `attended` (B, L) count: (B, D), of any length."""
        embeddings: Tensor = self.model(input_ids=ids, attention_mask=attended).text_embeds
        return embeddings


def original_audio_side(checkpoint: Checkpoint) -> Any:
    """Read the audio tower, with its projection and `logit_scale_a`: float32, on the CPU."""
    return _read(checkpoint, _AudioSide, checkpoint.config.audio_config)


def original_text_tower(checkpoint: Checkpoint) -> OriginalTextTower:
    """Read the text tower with its projection: float32, on the CPU."""
    return OriginalTextTower(_read(checkpoint, ClapTextModelWithProjection, checkpoint.config.text_config))


def _read(checkpoint: Checkpoint, kind: Any, config: Any) -> Any:
    with telling(checkpoint.name, "weights"), quiet():
        model, loaded = kind.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            weights_only=True,
            output_loading_info=True,
        )
    if missing := sorted(loaded["missing_keys"]):
        problem = f"its weights lack {len(missing)} of a CLAP model's, {missing[0]} for one"
        raise refusal(checkpoint.name, problem, "download it again")
    return model.eval()
