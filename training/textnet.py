"""The compact encoder's text side as it is trained: a static token table and one hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.net import unit

WIDTH = 256
HIDDEN = 768
CLASSES = 527


class TextNet(nn.Module):
    """Token ids to a direction in the embedding space and logits over the 527 AudioSet classes.

    The mean of a prompt's token vectors is scaled to unit length, so a token's weight is its vector's own
    length, learned like the rest: words such as "the", "sound" and "of" end up near zero.
    """

    scales: Tensor

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.EmbeddingBag(vocabulary, WIDTH, mode="mean")
        self.hidden = nn.Linear(WIDTH, HIDDEN)
        self.direction = nn.Linear(HIDDEN, WIDTH)
        self.evidence = nn.Linear(HIDDEN, CLASSES)

    def forward(self, ids: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Flat ids (tokens,), prompts' starts (N,) to unit directions (N, 256), class logits (N, 527)."""
        return self.head(self.tokens(ids, offsets))

    def head(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Mean token vectors (N, 256) to directions and class logits."""
        x = unit(means)
        hidden = functional.relu(self.hidden(x))
        return unit(x + self.direction(hidden)), self.evidence(hidden)

    @torch.no_grad()
    def quantise(self) -> None:
        """Round the table to what int8 rows with a scale each can hold."""
        values, scales = to_int8(self.tokens.weight)
        self.tokens.weight.copy_(values.float() * scales[:, None])


def to_int8(table: Tensor) -> tuple[Tensor, Tensor]:
    """(V, W) float to (V, W) int8 and (V,) scales."""
    scales = table.abs().amax(dim=1).clamp(min=1e-8) / 127.0
    return torch.round(table / scales[:, None]).to(torch.int8), scales
