"""Which of an event's descriptions a sound is most like: one of its prompts or of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitor.config import Config
from monitor.heads import Head
from monitor.prototypes import normalise
from monitor.types import FloatArray


@dataclass(frozen=True, slots=True)
class Nearest:
    """The descriptions of every event, as a head compares sounds with them."""

    names: tuple[tuple[str, ...], ...]
    """Per event: its prompts, then the names of its examples."""
    prompts: tuple[FloatArray, ...]
    """Per event, shape (its prompts, D)."""
    head: Head

    @classmethod
    def build(cls, config: Config, embedded: Mapping[str, FloatArray], head: Head) -> Nearest:
        """Arrange the texts and examples that a head was built from."""
        events = config.events.values()
        dimension = head.prototypes.shape[1]
        return cls(
            tuple((*event.prompts, *(path.name for path in event.examples)) for event in events),
            tuple(
                np.array([embedded[text] for text in event.prompts], np.float32).reshape(-1, dimension)
                for event in events
            ),
            head,
        )

    def of(self, embedding: FloatArray) -> tuple[str, ...]:
        """Name the description of each event that scores highest for an embedding of shape (D,)."""
        if not embedding.any():
            return ("",) * len(self.names)
        return tuple(
            self._best(index, embedding) if names else ""  # a level has no description
            for index, names in enumerate(self.names)
        )

    def _best(self, index: int, embedding: FloatArray) -> str:
        logits = self.head.logit_scale * self.prompts[index] @ embedding
        if index in self.head.heard:
            prototype, _ = self.head.heard[index]
            evidence = float(prototype.evidence(embedding[None])[0])
            likeness = normalise(prototype.examples - prototype.centre) @ (embedding - prototype.centre)
            # All examples speak with one voice; the nearest of them gives it its name.
            own = np.full(len(likeness), -np.inf)
            own[likeness.argmax()] = self.head.unrelated_logit + self.head.logit_scale * evidence
            logits = np.concatenate([logits, own])
        return self.names[index][int(logits.argmax())]
