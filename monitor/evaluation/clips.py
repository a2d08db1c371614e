"""Whole clips, told apart without training: accuracy and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.types import FloatArray


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """How well clips are given to the right one of all configured events."""

    events: tuple[str, ...]
    confusion: NDArray[np.int64]
    """Shape (events, events): clips of the row's event that were taken for the column's."""

    @property
    def clips(self) -> int:
        """How many were judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of the clips that were given to the right event."""
        return float(np.trace(self.confusion) / self.clips)

    def by_event(self) -> Mapping[str, tuple[int, float]]:
        """Return clips and share of them told right, for the events that occur."""
        return {
            name: (int(row.sum()), float(row[index] / row.sum()))
            for index, (name, row) in enumerate(zip(self.events, self.confusion, strict=True))
            if row.sum()
        }

    def confused(self) -> list[tuple[str, str, int]]:
        """Return (event, taken for, clips), most frequent first."""
        pairs = [
            (self.events[row], self.events[column], int(self.confusion[row, column]))
            for row, column in zip(*np.nonzero(self.confusion), strict=True)
            if row != column
        ]
        return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def judge_clips(
    events: Sequence[str], truth: Mapping[Path, str], scores: Mapping[Path, FloatArray]
) -> ClipFigures:
    """Give every clip to its highest score, shape (events,), and count."""
    index = {name: place for place, name in enumerate(events)}
    confusion = np.zeros((len(events), len(events)), dtype=np.int64)
    for file, event in truth.items():
        confusion[index[event], int(np.argmax(scores[file]))] += 1
    return ClipFigures(tuple(events), confusion)
