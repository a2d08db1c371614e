"""How much three recordings of a sound lift its average precision: with prompts, and without any.

    python -m training.examples --shared ../shared [--fold 4] [--draws 5] [--unheard]

Examples are drawn from folds 1 and 2. A clip's score is its highest window's; the negatives are the other
classes' clips and half a minute of each recording of `audio/background`. Fold 3 is for choosing, 4 for
reporting. `--unheard` takes the ten classes of `leftout.py` and the model that never heard them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from monitor.config import Config
from monitor.encoders.compact import CompactEncoder
from monitor.examples import Heard, cut, embed, embed_unrelated, trimmed
from monitor.heads import Head, prompts_of
from monitor.prototypes import AudioPrototype
from training.clips import Clip, esc_clips, label_text, samples_of
from training.evaluate import LEFTOUT, build
from training.leftout import LEFT_OUT

RATE_HZ = 48000
WINDOW_SECONDS = 2.0
CLASSES = (
    "dog",
    "crying_baby",
    "door_wood_knock",
    "glass_breaking",
    "siren",
    "clock_alarm",
    "washing_machine",
    "vacuum_cleaner",
    "pouring_water",
    "keyboard_typing",
)
AUDIBLE_DBFS = -70.0


def windows_of(encoder: CompactEncoder, samples: np.ndarray) -> np.ndarray:
    """Embed the windows of a clip that aren't silent, (windows, D); a zero row where all are."""
    windows = [w for w in cut(samples, RATE_HZ, WINDOW_SECONDS) if w.level_dbfs >= AUDIBLE_DBFS]
    rows = encoder.embed_audio(windows) if windows else np.zeros((1, encoder.embed_text(["x"]).shape[1]))
    encoder.forget()
    return rows.astype(np.float32)


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean precision at each positive, in the order of the scores."""
    hits = truth[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def head_of(encoder: CompactEncoder, label: str, prototype: AudioPrototype | None, heard: Heard) -> Head:
    """Build a head with one event; without a prototype, by its prompt."""
    event: dict[str, object] = {"prompts": f"the sound of {label_text(label)}"}
    config = Config.model_validate({"sources": {"room": {}}, "events": {label: event}})
    texts = prompts_of(config)
    embedded = dict(zip(texts, encoder.embed_text(texts), strict=True))
    learned = {} if prototype is None else {label: prototype}
    return Head.build(config, embedded, encoder.logit_scale, learned, heard.unrelated)


def without_prompts(head: Head) -> Head:
    """Leave only the examples."""
    heard = {index: (prototype, 1.0) for index, (prototype, _) in head.heard.items()}
    return replace(head, heard=heard)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--unheard", action="store_true")
    arguments = parser.parse_args()
    classes = tuple(LEFT_OUT) if arguments.unheard else CLASSES
    encoder = build(LEFTOUT if arguments.unheard else None)
    heard = Heard(WINDOW_SECONDS, embed_unrelated(encoder, WINDOW_SECONDS))
    clips = [clip for clip in esc_clips(arguments.shared) if clip.label in classes]
    tested = [(c.label, windows_of(encoder, samples_of(c.path))) for c in clips if c.fold == arguments.fold]
    backgrounds = sorted((arguments.shared / "audio" / "background").iterdir())
    tested += [("", windows_of(encoder, samples_of(path)[: 30 * RATE_HZ])) for path in backgrounds]
    known: dict[Path, np.ndarray] = {}

    def example(clip: Clip) -> np.ndarray:
        if clip.path not in known:
            known[clip.path] = embed(encoder, trimmed(samples_of(clip.path), RATE_HZ), WINDOW_SECONDS)
            encoder.forget()
        return known[clip.path]

    def figures(head: Head, truth: np.ndarray) -> tuple[float, float, float]:
        scores = np.array([head.score(rows)[:, 0].max() for _, rows in tested])
        return (
            average_precision(truth, scores),
            float((scores[truth] >= 0.5).mean()),
            float((scores[~truth] >= 0.5).mean()),
        )

    table = []
    print("| class | prompt only | prompt and 3 examples | 3 examples only |\n|---|---|---|---|")
    for label in classes:
        pool = [c for c in clips if c.label == label and c.fold in (1, 2)]
        truth = np.array([name == label for name, _ in tested])
        rng = np.random.default_rng(0)
        both, alone = [], []
        for _ in range(arguments.draws):
            drawn = [pool[i] for i in rng.choice(len(pool), 3, replace=False)]
            prototype = AudioPrototype.of(np.stack([example(c) for c in drawn]), heard.unrelated)
            head = head_of(encoder, label, prototype, heard)
            both.append(figures(head, truth))
            alone.append(figures(without_prompts(head), truth))
        row = np.array(
            [figures(head_of(encoder, label, None, heard), truth), *np.mean([both, alone], axis=1)]
        )
        table.append(row)
        print(
            f"| {label_text(label)} | " + " | ".join(f"{value:.3f}" for value in row[:, 0]) + " |", flush=True
        )
    mean = np.mean(table, axis=0)
    for name, column in (("mean", 0), ("clips of it at 0.5 or more", 1), ("other clips at 0.5 or more", 2)):
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in mean[:, column]) + " |")


if __name__ == "__main__":
    main()
