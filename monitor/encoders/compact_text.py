"""The compact encoder's text side: a static token table, int8, and one hidden layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monitor.encoders.compact_net import Linear, relu, unit
from monitor.types import FloatArray

MAX_TOKENS = 256


def tokenizer_from(document: str) -> Any:
    """Build a `tokenizers.Tokenizer` from its JSON."""
    from tokenizers import Tokenizer  # noqa: PLC0415  # keeps import of the audio side light

    return Tokenizer.from_str(document)


class TextNet:
    """Prompts to directions in the embedding space and logits over the 527 AudioSet classes.

    The mean of a prompt's token vectors is scaled to unit length, so a token's weight is its vector's own
    length, learned like the rest: words such as "the", "sound" and "of" end up near zero.
    """

    def __init__(
        self,
        tokenizer: str,
        table: np.ndarray[Any, np.dtype[np.int8]],
        scales: FloatArray,
        weights: Mapping[str, FloatArray],
    ) -> None:
        """Take the tokenizer's JSON, a row of the table with its scale for each token, and the network."""
        self._tokenizer = tokenizer_from(tokenizer)
        self._table = table
        self._scales = scales
        self._hidden = Linear(weights, "hidden")
        self._direction = Linear(weights, "direction")
        self._evidence = Linear(weights, "evidence")

    def __call__(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Give unit directions (N, 256) and class logits (N, 527); any text is allowed, the empty one too."""
        means = np.zeros((len(prompts), self._table.shape[1]), dtype=np.float32)
        for row, encoding in enumerate(self._tokenizer.encode_batch(list(prompts), add_special_tokens=False)):
            ids = encoding.ids[:MAX_TOKENS]
            if ids:
                means[row] = (self._table[ids] * self._scales[ids, None]).mean(axis=0)
        x = unit(means)
        hidden = relu(self._hidden(x))
        return unit(x + self._direction(hidden)), self._evidence(hidden)
