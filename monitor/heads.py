"""From embeddings to one probability per event.

What else was tried for the formula, and with what figures: training/SCORING.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monitor.config import Config
from monitor.prototypes import AudioPrototype, normalise
from monitor.types import FloatArray

Doubles = NDArray[np.float64]

MOST_WEIGHT = 0.5
"""Of examples beside prompts that don't know them at all.

Mean average precision with three examples on ESC-50's fold 3, of ten classes that a training never heard and
of thirteen that the shipped one may know: prompts alone 0.349 and 0.792, examples alone 0.544 and 0.598,
always half and half 0.568 and 0.750, weighed by what the words don't know 0.568 and 0.808.
"""


def prompts_of(config: Config) -> tuple[str, ...]:
    """List every text that a configuration needs embedded, each once, in a stable order."""
    texts = [text for event in config.events.values() for text in (*event.prompts, *event.negatives)]
    veto = config.privacy.veto if config.clips else ()
    return tuple(dict.fromkeys((*texts, *config.background, *veto)))


def _log_sum_exp(logits: Doubles) -> Doubles:
    """Sum of exponentials in the logarithm, over the last axis; -inf where it is empty."""
    if logits.shape[-1] == 0:
        return np.full(logits.shape[:-1], -np.inf)
    peak = logits.max(axis=-1, keepdims=True)
    total: Doubles = np.log(np.exp(logits - peak).sum(axis=-1)) + peak[..., 0]
    return total


@dataclass(frozen=True, slots=True)
class Head:
    """Scores of all events for a batch of embeddings."""

    prototypes: Doubles
    """Shape (events, D): the mean of each event's prompts, at unit length; zeros where it has none."""
    negatives: Doubles
    """Shape (N, D): those of the first event that has some, then those of the next."""
    negatives_of: Mapping[int, int]
    """Of the events that have some, by position: the first of its rows."""
    background: Doubles
    """Shape (background prompts, D)."""
    logit_scale: float
    heard: Mapping[int, tuple[AudioPrototype, float]] = field(default_factory=dict)
    """Of the events with examples, by position, with its weight beside the prompts', 0..1."""
    unrelated_logit: float = 0.0
    """What the background's phrases come to together, on the mean of unrelated sounds."""
    undescribed: tuple[int, ...] = ()
    """Events, by position, that have neither prompts nor examples."""
    exclusive: tuple[Doubles, ...] | None = None
    """Per event, shape (its prompts, D), where scoring is exclusive."""

    @classmethod
    def build(
        cls,
        config: Config,
        embedded: Mapping[str, FloatArray],
        logit_scale: float,
        heard: Mapping[str, AudioPrototype] | None = None,
        unrelated: FloatArray | None = None,
    ) -> Head:
        """Arrange the embedded texts of `prompts_of(config)`, and what was learned from events' examples.

        `unrelated`, shape (M, D), is what the examples were held against.
        """

        def rows(texts: Sequence[str]) -> Doubles:
            dimension = len(next(iter(embedded.values())))
            return np.array([embedded[text] for text in texts], np.float64).reshape(len(texts), dimension)

        events = list(config.events.values())
        counts = [len(event.negatives) for event in events]
        background = rows(config.background)
        prompts = tuple(rows(event.prompts) for event in events)
        plain = cls(
            prototypes=normalise(np.stack([vectors.sum(axis=0) for vectors in prompts])).astype(np.float64),
            negatives=rows([text for event in events for text in event.negatives]),
            negatives_of={index: sum(counts[:index]) for index, count in enumerate(counts) if count},
            background=background,
            logit_scale=logit_scale,
            undescribed=tuple(
                index
                for index, (name, event) in enumerate(config.events.items())
                if not event.prompts and name not in (heard or ())
            ),
            exclusive=prompts if config.scoring == "exclusive" else None,
        )
        if not heard or unrelated is None or plain.exclusive is not None:
            return plain
        weighed = {}
        for index, (name, event) in enumerate(config.events.items()):
            if name in heard:
                # The better the words already know the examples, the less the examples have to add.
                known = float(plain.score(heard[name].examples)[:, index].mean())
                weighed[index] = (heard[name], MOST_WEIGHT * (1.0 - known) if event.prompts else 1.0)
        scaled = logit_scale * unrelated.astype(np.float64)
        return replace(
            plain, heard=weighed, unrelated_logit=float(_log_sum_exp(scaled @ background.T).mean())
        )

    def score(self, embeddings: FloatArray) -> FloatArray:
        """Return probabilities, shape (B, events), for embeddings of shape (B, D).

        independent: exp(s c_event) / (exp(s c_event) + sum over its negatives and the background of
        exp(s c_i)), c the cosine and s the model's logit scale, so that no event moves another's score.
        An event's examples give it such a c too, which equals the background's where likeness is at its
        boundary; beside prompts, both are averaged by weight. With neither, as a level has, the score is 0.
        exclusive: softmax of s c over all prompts of all events, as transformers'
        zero-shot-audio-classification does; an event's prompts are summed. An all-zero embedding scores 0.
        """
        if self.exclusive is None:
            scores = self._independent(embeddings)
        else:
            scores = self._exclusive(embeddings, self.exclusive)
        scores[~embeddings.any(axis=1)] = 0.0
        return scores

    def _independent(self, embeddings: FloatArray) -> FloatArray:
        # Double, so that which windows share a batch doesn't show in the last digits: what is decided on a
        # stored embedding is what was decided live.
        scaled = embeddings.astype(np.float64) * self.logit_scale
        positive = scaled @ self.prototypes.T
        background = _log_sum_exp(scaled @ self.background.T)
        for index, (prototype, weight) in self.heard.items():
            audible = self.unrelated_logit + self.logit_scale * prototype.evidence(embeddings)
            positive[:, index] = (1.0 - weight) * positive[:, index] + weight * audible
        positive[:, list(self.undescribed)] = -np.inf
        against = np.repeat(background[:, None], positive.shape[1], axis=1)
        if self.negatives_of:
            having, firsts = list(self.negatives_of), list(self.negatives_of.values())
            theirs = np.logaddexp.reduceat(scaled @ self.negatives.T, firsts, axis=1)
            against[:, having] = np.logaddexp(against[:, having], theirs)
        # In the logarithm, so that neither large scales overflow nor small scores lose digits.
        probabilities: FloatArray = np.exp(positive - np.logaddexp(positive, against))
        return probabilities.astype(np.float32)

    def _exclusive(self, embeddings: FloatArray, prompts: tuple[Doubles, ...]) -> FloatArray:
        scores = np.zeros((len(embeddings), len(prompts)), dtype=np.float32)
        lengths = np.array([len(vectors) for vectors in prompts])
        described = lengths > 0
        if not described.any():
            return scores
        logits = embeddings.astype(np.float64) @ np.concatenate(prompts).T * self.logit_scale
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        weights /= weights.sum(axis=1, keepdims=True)
        firsts = (np.cumsum(lengths) - lengths)[described]
        scores[:, described] = np.add.reduceat(weights, firsts, axis=1)
        return scores
