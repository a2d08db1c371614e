"""Everything that the trainer needs to know of words, in one file: the shipped text side's answers.

    python -m training.tables --pool POOL --teacher ../shared/teacher --out tables.pt

The trainer itself then needs torch and numpy alone, wherever it runs.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from monitor.config import DEFAULT_BACKGROUND
from monitor.encoders.compact import CompactEncoder
from monitor.encoders.compact_net import unit
from training.clips import ESC_LABELS, label_text
from training.sentences import thesaurus

ALIKE = 0.8
"""Cosine from which a phrase of the thesaurus says the same as a label."""
MOST_PHRASES = 12
NAMES_CLASS = 0.2
"""Share of a label's class evidence from which a class is one of its own."""


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    encoder = CompactEncoder.load()

    def sides(prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Directions (N, 256) and unit class evidence (N, 527)."""
        direction, logits = encoder._text(prompts)  # noqa: SLF001
        likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        return torch.from_numpy(direction).half(), torch.from_numpy(unit(likelihood)).half()

    with (args.teacher / "audioset_527.csv").open(newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    with (args.pool / "pool.csv").open(newline="") as file:
        said = {row["caption"] for row in csv.DictReader(file)} - {""}
    labels = [label_text(name) for name in ESC_LABELS]
    captions = sorted(said | set(labels))
    phrases = [phrase for phrase, _ in thesaurus(names)]
    known = encoder.embed_text(labels) @ encoder.embed_text(phrases).T
    wordings: list[list[str]] = []
    for row, label in zip(known, labels, strict=True):
        best = [phrases[i] for i in np.argsort(-row)[:MOST_PHRASES] if row[i] > ALIKE]
        wordings.append(list(dict.fromkeys([label, *best])))
    evidence = sides(labels)[1].float()
    likelihood = evidence / evidence.sum(1, keepdim=True)
    own = likelihood > NAMES_CLASS
    own[torch.arange(len(labels)), likelihood.argmax(1)] = True
    torch.save(
        {
            "classes": sides(names),
            "captions": captions,
            "caption_sides": sides(captions),
            "labels": ESC_LABELS,
            "label_texts": labels,
            "wordings": [sides(each) for each in wordings],
            "label_classes": own,
            "background": sides(list(DEFAULT_BACKGROUND)),
        },
        args.out,
    )
    for label, each in zip(labels, wordings, strict=True):
        print(f"{label}: {', '.join(each[1:])}")


if __name__ == "__main__":
    main()
