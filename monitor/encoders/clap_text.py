"""CLAP's text tower, RoBERTa; equal to transformers' own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from monitor.encoders.clap_grid import UnrecognisedTowerError
from monitor.encoders.clap_weights import activation, parts, projection


class TextTower(nn.Module):
    """Token ids in, embeddings out; its parts are named as in a checkpoint."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        if config.pad_token_id is None:
            msg = "no padding"
            raise UnrecognisedTowerError(msg)
        width, self.padding = config.hidden_size, config.pad_token_id
        self.longest = longest(config)
        self.text_model = parts(
            embeddings=parts(
                word_embeddings=_table(config.vocab_size, width),
                position_embeddings=_table(config.max_position_embeddings, width),
                token_type_embeddings=_table(config.type_vocab_size, width),
                LayerNorm=nn.LayerNorm(width, config.layer_norm_eps),
            ),
            encoder=parts(layer=nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))),
            pooler=parts(dense=nn.Linear(width, width)),
        )
        self.text_projection = projection(config)

    def forward(self, ids: Tensor, attended: Tensor) -> Tensor:
        """Embed token ids (B, L), of which those `attended` (B, L) count: (B, D), of any length."""
        embeddings = self.text_model.embeddings
        known = ids != self.padding
        places = known.cumsum(dim=1) * known + self.padding
        x = embeddings.word_embeddings(ids) + embeddings.token_type_embeddings.weight[0]
        x = embeddings.LayerNorm(x + embeddings.position_embeddings(places))
        for layer in self.text_model.encoder.layer:
            x = layer(x, attended.bool()[:, None, None, :])
        pooled = torch.tanh(self.text_model.pooler.dense(x[:, 0]))
        result: Tensor = self.text_projection(pooled)
        return result


class _Layer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.attention = parts(
            self=parts(**{name: nn.Linear(width, width) for name in ("query", "key", "value")}),
            output=_into_norm(config, width),
        )
        self.intermediate = parts(
            dense=nn.Linear(width, inner), intermediate_act_fn=activation(config.hidden_act)
        )
        self.output = _into_norm(config, inner)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Change tokens (B, L, C), which attend to those of the mask (B, 1, 1, L)."""
        own, out = self.attention.self, self.attention.output
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (own.query, own.key, own.value)
        )
        heard = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        x = out.LayerNorm(out.dense(heard) + x)
        inner = self.intermediate.intermediate_act_fn(self.intermediate.dense(x))
        result: Tensor = self.output.LayerNorm(self.output.dense(inner) + x)
        return result


def _into_norm(config: Any, width: int) -> Any:
    return parts(
        dense=nn.Linear(width, config.hidden_size),
        LayerNorm=nn.LayerNorm(config.hidden_size, config.layer_norm_eps),
    )


def _table(rows: int, width: int) -> Any:
    # A plain one would be initialised, for which torch, without a device, imports 80 MB of itself.
    embedding: Any = nn.Embedding
    return embedding.from_pretrained(torch.empty(rows, width))


def longest(config: Any) -> int:
    """Return how many tokens a text may have: positions are counted from the padding's on."""
    return int(config.max_position_embeddings - config.pad_token_id - 1)
