"""What was tried for scores, windows, smoothing and dates, with figures: the tables of SCORING.md.

    python -m training.scoring --shared ../shared [--cache CACHE.pkl]

Thresholds are chosen on streams 0-5 and the practice streams; figures are of streams 6-11 and backgrounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from monitor.config import EmaSmoothing, MedianSmoothing, NoSmoothing, Smoothing
from training.scoring_bench import DATED_AT, PLAIN, WINDOWS_SECONDS, Bench, Score, shipped

_EVERYDAY = (
    "speech|singing|laughter|a baby crying|coughing|sneezing|snoring|footsteps|clapping|a crowd",
    "a dog barking|a cat meowing|birds singing|a crow|a rooster|a chicken|a cow|a sheep|a pig|a horse",
    "a frog|insects|bees buzzing|rain|thunder|wind|water flowing|sea waves|a fire crackling",
    "a car passing|a car horn|a motorcycle|a truck|a train|an airplane|a helicopter|a siren",
    "an engine idling|a vacuum cleaner|a washing machine|a hair dryer|a fan|an electric drill",
    "a chainsaw|a hand saw|hammering|a door closing|knocking|a creaking door|keyboard typing",
    "a mouse click|a clock ticking|an alarm clock|a telephone ringing|a doorbell|church bells",
    "a smoke alarm|beeping|a whistle|glass breaking|dishes clinking|a toilet flushing|a zipper",
    "gunshots|fireworks|an explosion|a piano|a guitar|drums|a violin|a trumpet|static noise|a hum",
)
EVERYDAY = [text for line in _EVERYDAY for text in line.split("|")]
"""Competitors that a head could bring along; those with a cosine of 0.6 to a prompt don't compete with it."""
NEAR = 0.6
TEMPLATES = ("{}", "the sound of {}", "a recording of {}", "{} in the distance", "{} nearby")


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    peak = logits.max(axis=-1)
    total: np.ndarray = peak + np.log(np.exp(logits - peak[..., None]).sum(axis=-1))
    return total


def probability(logits: np.ndarray) -> np.ndarray:
    """Logistic function."""
    result: np.ndarray = 1.0 / (1.0 + np.exp(-logits))
    return result


def formulas(bench: Bench) -> Iterator[tuple[str, Score]]:
    """Other ways from cosines to a score; a sentence per event."""
    encoder, s = bench.encoder, bench.encoder.logit_scale
    sentences = [event.prompts[0] for event in bench.config.events.values()]
    prompts, background = encoder.embed_text(sentences), encoder.embed_text(bench.config.background)
    everyday = encoder.embed_text(EVERYDAY)
    competes = prompts @ everyday.T < NEAR
    worded = np.stack([encoder.embed_text([t.format(text) for text in sentences]) for t in TEMPLATES])

    def against(of: Callable[[np.ndarray], np.ndarray]) -> Score:
        return lambda e: probability(s * e @ prompts.T - of(e))

    def rivals(e: np.ndarray, sharpness: float | None) -> np.ndarray:
        """Competitors of each event together, (windows, events); the highest alone without a sharpness."""
        own = np.where(competes, 0.0, -np.inf)[None] + s * (e @ everyday.T)[:, None, :]
        return own.max(axis=-1) if sharpness is None else log_sum_exp(own * sharpness) / sharpness

    def background_of(e: np.ndarray) -> np.ndarray:
        return log_sum_exp(s * e @ background.T)[:, None]

    def standardised(e: np.ndarray) -> np.ndarray:
        others = e @ everyday.T
        return probability((e @ prompts.T - others.mean(1, keepdims=True)) / others.std(1, keepdims=True) - 3)

    yield "softmax against the background (shipped)", shipped(bench)
    yield "cosine alone", lambda e: probability(s * e @ prompts.T - s / 2)
    yield "margin to the nearest background", against(lambda e: s * (e @ background.T).max(1, keepdims=True))
    yield (
        "margin to the background's mean",
        against(lambda e: s * (e @ background.T).mean(1, keepdims=True) + 2),
    )
    yield (
        "softmax at twice the scale",
        lambda e: probability(2 * s * e @ prompts.T - log_sum_exp(2 * s * e @ background.T)[:, None]),
    )
    yield (
        "softmax at half the scale",
        lambda e: probability(s / 2 * e @ prompts.T - log_sum_exp(s / 2 * e @ background.T)[:, None]),
    )
    yield "cosine in deviations over 73 everyday sounds", standardised
    yield (
        "softmax, 73 everyday sounds in the background",
        against(lambda e: np.logaddexp(background_of(e), rivals(e, 1.0))),
    )
    yield (
        "the same, nearest everyday sound only",
        against(lambda e: np.maximum(background_of(e), rivals(e, None))),
    )
    yield "the same, sharp softmax over them", against(lambda e: np.maximum(background_of(e), rivals(e, 3.0)))
    mean = worded.mean(axis=0)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    yield "five wordings of the sentence, mean", lambda e: probability(s * e @ mean.T - background_of(e))
    yield (
        "five wordings of the sentence, highest",
        lambda e: probability(s * np.einsum("bd,ted->bte", e, worded).max(1) - background_of(e)),
    )
    names = encoder.embed_text([name.replace("_", " ") for name in bench.names])
    yield (
        "the label's word instead of the sentence",
        lambda e: probability(s * e @ names.T - background_of(e)),
    )


def times() -> Iterator[tuple[str, Smoothing, tuple[float, ...], Callable[..., np.ndarray]]]:
    """Windows and smoothings, of the shipped score."""

    def one(raw: np.ndarray) -> np.ndarray:
        return raw

    for window in WINDOWS_SECONDS:
        yield f"{window:g} s, plain average over 0.75 s", PLAIN, (window,), one
        yield f"{window:g} s, up 0.4 s, down 1.5 s", EmaSmoothing(), (window,), one
    for rise, fall in ((0.3, 1.5), (0.4, 1.0), (0.4, 3.0), (0.6, 1.5)):
        yield (
            f"2 s, up {rise:g} s, down {fall:g} s",
            EmaSmoothing(seconds=rise, fall_seconds=fall),
            (2.0,),
            one,
        )
    yield "2 s, not smoothed", NoSmoothing(method="none"), (2.0,), one
    yield "2 s, median over 1.5 s", MedianSmoothing(method="median", seconds=1.5), (2.0,), one
    yield "1 s and 2 s, mean", EmaSmoothing(), (1.0, 2.0), lambda a, b: (a + b) / 2
    yield "1 s and 2 s, higher", EmaSmoothing(), (1.0, 2.0), np.maximum
    yield "1 s and 3 s, mean", EmaSmoothing(), (1.0, 3.0), lambda a, b: (a + b) / 2


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    bench = Bench(arguments.shared, arguments.cache)
    head = (
        "| {} | threshold | choosing F1 | held F1 | held F1, streams 0-5 alone | held P / R | delay s "
        "| quiet false/h | held recall at 60 / 17 / 5 per h | mAP | onset / offset off by s |\n|"
        + "---|"
        * 11
    )
    print(f"{bench.encoder.identity}\n\n" + head.format("score"))
    for name, score in formulas(bench):
        print(bench.row(name, score), flush=True)
    print("\n" + head.format("window and smoothing"))
    for name, smoothing, windows, mix in times():
        print(bench.row(name, shipped(bench), smoothing, windows, mix), flush=True)
    print(
        f"\n| dates, choosing / held, threshold {DATED_AT} | F1 | onset off by s | offset off by s |\n"
        + "|---" * 4
        + "|"
    )
    for line in bench.dates(DATED_AT):
        print(line, flush=True)


if __name__ == "__main__":
    main()
