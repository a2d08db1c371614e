"""Chooses the class share and the logit scale, from scores of 50 events on clips that nothing trains on.

    python -m training.scale --shared ../shared

The clips are the non-commercial ones of ESC-50's folds 1-3, and 5 s of backgrounds; never fold 4. A score is
exp(s c) / (exp(s c) + sum of exp(s b) over the background prompts b), as in `monitor/heads.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from monitor.config import DEFAULT_BACKGROUND
from training.audio import shared_items
from training.clips import ESC_LABELS, Clip, esc_clips, label_text, samples_of
from training.evaluate import RATE, build, embed, window

SCALES = (6, 8, 10, 12, 15, 20, 25, 30, 40)


def main() -> None:
    """Print a row per share and scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    clips: list[Clip] = [c for c in esc_clips(args.shared) if c.fold != 4 and not c.permissive]
    own = np.array([[c.label == name for name in ESC_LABELS] for c in clips])
    backgrounds = []
    for item in shared_items(args.shared):
        if item.group == "background":
            samples = samples_of(item.path)
            backgrounds += [samples[i : i + 5 * RATE] for i in range(0, len(samples) - 5 * RATE, 20 * RATE)]
    for share in (0.5, 0.65, 0.8, 0.9):
        encoder = build(share=share)
        audio = embed(encoder, clips)
        noise = np.concatenate([encoder.embed_audio([window(b, f"b{i}")]) for i, b in enumerate(backgrounds)])
        events = encoder.embed_text([f"the sound of {label_text(n)}" for n in ESC_LABELS])
        against = encoder.embed_text(DEFAULT_BACKGROUND)
        top = 100 * np.mean((audio @ events.T).argmax(1) == own.argmax(1))
        cosine = audio @ events.T
        print(f"share {share}: top-1 {top:.1f}; cosine to own {cosine[own].mean():.2f}, to others "
              f"{cosine[~own].mean():.2f}; clips to background prompts {np.mean(audio @ against.T):.2f}, "
              f"backgrounds to events {np.mean(noise @ events.T):.2f}")  # fmt: skip
        for scale in SCALES:

            def score(rows: np.ndarray) -> np.ndarray:
                mine = np.exp(scale * (rows @ events.T))  # noqa: B023
                return mine / (mine + np.exp(scale * (rows @ against.T)).sum(1, keepdims=True))  # noqa: B023

            clip, ambient = score(audio), score(noise)
            brier = np.mean((clip - own) ** 2)
            found = [f"{t}: {100 * np.mean(clip[own] > t):.0f}/{100 * np.mean(clip[~own] > t):.1f}/"
                     f"{100 * np.mean(ambient > t):.1f}" for t in (0.3, 0.5, 0.7, 0.9)]  # fmt: skip
            print(
                f"  scale {scale:3}  Brier {brier:.4f}  % of own/other/background scores above "
                + "  ".join(found)
            )


if __name__ == "__main__":
    main()
