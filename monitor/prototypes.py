"""What a few recordings of a sound teach: a prototype, and how near to it is near enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.types import FloatArray

_ALONE = 0.8
"""Likeness that one example would have to another of its kind, as good examples have."""
_MARGIN_DEVIATIONS = 3.0


def normalise(vectors: FloatArray) -> FloatArray:
    """Scale rows to unit length; zero rows stay zero. Shape (..., D) to the same."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


@dataclass(frozen=True, slots=True)
class AudioPrototype:
    """The mean of an event's examples.

    Embeddings of any two sounds have much in common, which says nothing and hides the rest: likeness is the
    cosine after the mean of unrelated sounds was taken away.
    """

    examples: FloatArray
    """Shape (N, D)."""
    direction: FloatArray
    """Shape (D,), unit length."""
    centre: FloatArray
    """Shape (D,): the mean of unrelated sounds."""
    boundary: float
    """The likeness at which the event is as probable as not."""

    @classmethod
    def of(cls, examples: FloatArray, unrelated: FloatArray) -> AudioPrototype:
        """Learn from embeddings of examples (N, D) and of sounds that have nothing to do with them (M, D).

        The boundary lies halfway between how alike the examples are and how alike the unrelated sounds are to
        them, and clear of the latter.
        """
        centre = unrelated.mean(axis=0)
        direction = normalise(normalise(examples - centre).sum(axis=0))
        noise = normalise(unrelated - centre) @ direction
        own = float(left_out(examples, centre).mean()) if len(examples) > 1 else _ALONE
        middle = (own + float(noise.mean())) / 2
        clear = float(noise.mean() + _MARGIN_DEVIATIONS * noise.std())
        return cls(examples, direction, centre, max(middle, min(clear, own)))

    def likeness(self, embeddings: FloatArray) -> FloatArray:
        """Cosines of (B, D) with the prototype, -1..1, shape (B,)."""
        centred = normalise(embeddings - self.centre).astype(np.float64)
        result: FloatArray = (centred @ self.direction).astype(np.float32)
        return result

    def evidence(self, embeddings: FloatArray) -> FloatArray:
        """Likeness above the boundary, shape (B,): takes the place of a difference of cosines."""
        return self.likeness(embeddings) - np.float32(self.boundary)


def left_out(examples: FloatArray, centre: FloatArray) -> FloatArray:
    """Cosine of each example with the prototype of the others, shape (N,); N must be 2 at least."""
    centred = normalise(examples - centre)
    others = normalise(centred.sum(axis=0) - centred)
    result: FloatArray = (centred * others).sum(axis=1)
    return result
