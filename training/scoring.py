"""What was tried for scores, windows, smoothing and dates, with figures: the tables of SCORING.md.

    python -m training.scoring --shared ../shared [--cache CACHE.pkl]

Thresholds are chosen on streams 0-5 and the practice streams; figures are of streams 6-11 and backgrounds.
"""

from __future__ import annotations

import argparse
import pickle
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monitor.activity import Started
from monitor.config import Config, EmaSmoothing, MedianSmoothing, NoSmoothing, Smoothing
from monitor.config_file import load_config
from monitor.encoders.compact import CompactEncoder
from monitor.evaluation.alerts import Span, Tally, tally
from monitor.evaluation.frames import average_precision, frame_edges, frame_truth
from monitor.evaluation.timeline import Alert, Timeline, changes, decide, local_peaks, rule_at
from monitor.heads import Head, prompts_of
from monitor.smoothing import Smoother
from monitor.types import AudioBlock
from monitor.windows import WindowCutter
from training.clips import RATE_HZ
from training.practice import Sound, recordings

EVENTS = Path(__file__).with_name("streams.yaml")
WINDOWS_SECONDS = (1.0, 1.5, 2.0, 3.0)
HOP_SECONDS = 0.5
CHOOSING, HELD, QUIET = ("tune", "practice"), ("held",), ("background",)
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
DATED_AT = 0.65
PLAIN = EmaSmoothing(seconds=0.75, fall_seconds=0.75)

Score = Callable[[np.ndarray], np.ndarray]
"""Embeddings (windows, D) to scores (windows, events)."""


@dataclass(frozen=True)
class Heard:
    """A recording cut into windows of one length, embedded."""

    sound: Sound
    """Without its samples."""
    seconds: float
    end_times: np.ndarray
    levels_dbfs: np.ndarray
    embeddings: np.ndarray


def embed(encoder: CompactEncoder, sounds: Sequence[Sound], window_seconds: float) -> list[Heard]:
    """Cut as the monitor cuts."""
    heard = []
    for sound in sounds:
        cutter = WindowCutter(sound.name, RATE_HZ, window_seconds, HOP_SECONDS)
        windows = list(cutter.push(AudioBlock(sound.name, 0, RATE_HZ, sound.samples.astype(np.float32), 0.0)))
        if windows:
            rows = [encoder.embed_audio([window])[0] for window in windows]
            encoder.forget()
            ends, levels = [w.end_time for w in windows], [w.level_dbfs for w in windows]
            seconds, silent = len(sound.samples) / RATE_HZ, replace(sound, samples=sound.samples[:0])
            heard.append(Heard(silent, seconds, np.array(ends), np.array(levels, np.float32), np.stack(rows)))
    return heard


class Bench:
    """Everything that the variants are made of, and the row of figures that one gives."""

    def __init__(self, shared: Path, cache: Path | None) -> None:
        self.encoder = CompactEncoder.load()
        self.config = load_config(EVENTS)
        self.names = list(self.config.events)
        known = pickle.loads(cache.read_bytes()) if cache and cache.exists() else {}
        if known.get("of") != self.encoder.identity:
            sounds = recordings(shared, self.names)
            known = {w: embed(self.encoder, sounds, w) for w in WINDOWS_SECONDS}
            known["of"] = self.encoder.identity
            if cache:
                cache.write_bytes(pickle.dumps(known))
        self.heard: dict[float, list[Heard]] = known
        self.hours = {
            kind: sum(h.seconds for h in self.heard[2.0] if h.sound.kind == kind) / 3600
            for kind in ("tune", "practice", "held", "background")
        }

    def timelines(
        self, score: Score, smoothing: Smoothing, windows: Sequence[float], mix: Callable[..., np.ndarray]
    ) -> list[tuple[Heard, Timeline]]:
        """Score and smooth; several lengths of window end together."""
        found = []
        lengths = [{each.sound.name: each for each in self.heard[w]} for w in windows]
        for heard in self.heard[max(windows)]:
            count = len(heard.end_times)
            raw = mix(*(score(length[heard.sound.name].embeddings[-count:]) for length in lengths))
            raw = np.where(heard.levels_dbfs[:, None] >= self.config.windows.min_level_dbfs, raw, 0.0)
            smoother = Smoother([smoothing] * len(self.names), HOP_SECONDS)
            smooth = np.stack([smoother.update(row) for row in raw.astype(np.float32)])
            timeline = Timeline(heard.sound.name, heard.end_times, heard.levels_dbfs, raw, smooth)
            found.append((heard, timeline))
        return found

    def row(
        self,
        name: str,
        score: Score,
        smoothing: Smoothing = EmaSmoothing(),  # noqa: B008 - frozen
        windows: Sequence[float] = (2.0,),
        mix: Callable[..., np.ndarray] = lambda raw: raw,
    ) -> str:
        """Compute a line of the table."""
        cut = self.config.windows.model_copy(update={"window_seconds": max(windows)})
        config = self.config.model_copy(update={"windows": cut, "smoothing": smoothing})
        lines = self.timelines(score, smoothing, windows, mix)

        def told(kinds: Sequence[str], threshold: float) -> Tally:
            return sum(
                (
                    tally(
                        decide(config, event, timeline, threshold),
                        spans_of(each.sound, event),
                        [],
                    )
                    for each, timeline in lines
                    if each.sound.kind in kinds
                    for event in self.names
                ),
                start=Tally(),
            )

        def best(kinds: Sequence[str]) -> float:
            return max(candidates(lines, kinds), key=lambda value: told(kinds, value).f1 or 0.0)

        threshold = best(CHOOSING)
        chosen, held, quiet = (told(kinds, threshold) for kinds in (CHOOSING, HELD, QUIET))
        streams_only = told(HELD, best(("tune",))).f1
        recalls = []
        quiet_peaks = candidates(lines, QUIET, 300)
        for per_hour in (60, 17, 5):
            allowed = per_hour * self.hours["background"]
            # False alarms fall with the threshold, but for a few that one long alarm had swallowed.
            at = bisect_left(quiet_peaks, True, key=lambda v: told(QUIET, v).false <= allowed)
            recalls.append(f"{told(HELD, [*quiet_peaks, 1.0][at]).recall:.2f}")
        rate = quiet.false / self.hours["background"]
        precisions = [f"{self.mean_precision(lines, k, max(windows)):.3f}" for k in (CHOOSING, HELD)]
        return (
            f"| {name} | {threshold:.2f} | {chosen.f1:.3f} | {held.f1:.3f} | {streams_only:.3f} "
            f"| {held.precision:.2f} / {held.recall:.2f} | {chosen.delay(0.5):.2f} / {held.delay(0.5):.2f} "
            f"| {rate:.0f} | {' / '.join(recalls)} | {' / '.join(precisions)} "
            f"| {held.onset_error:.2f} / {held.offset_error:.2f} |"
        )

    def dates(self, threshold: float) -> Iterator[str]:
        """Compute the lines of the table of dates: as the rules tell them, and as they are put right."""
        config = self.config.model_copy(update={"smoothing": EmaSmoothing()})
        lines = self.timelines(shipped(self), EmaSmoothing(), (2.0,), lambda raw: raw)

        def as_told(event: str, timeline: Timeline) -> list[Alert]:
            alerts: list[Alert] = []
            rule = rule_at(config.events[event], threshold)
            for index, change in changes(rule, *timeline.of(self.names.index(event))):
                if isinstance(change, Started):
                    alerts.append(Alert(event, change.started_at, float(timeline.end_times[index])))
                else:
                    alerts[-1] = replace(alerts[-1], ended_at=change.ended_at)
            return alerts

        def put_right(event: str, timeline: Timeline) -> list[Alert]:
            return decide(config, event, timeline, threshold)

        for name, alerts_of in (("when told", as_told), ("put right", put_right)):
            cells = []
            for kinds in (CHOOSING, HELD):
                tallies = [
                    tally(alerts_of(event, timeline), spans_of(each.sound, event), [])
                    for each, timeline in lines
                    if each.sound.kind in kinds
                    for event in self.names
                ]
                total = sum(tallies, start=Tally())
                cells.append((total.f1, total.onset_error, total.offset_error))
            figures = [
                " / ".join(f"{value:.{2 + (not row)}f}" for value in values)
                for row, values in enumerate(zip(*cells, strict=True))
            ]
            yield f"| {name} | {' | '.join(figures)} |"

    def mean_precision(
        self, lines: Sequence[tuple[Heard, Timeline]], kinds: Sequence[str], window_seconds: float
    ) -> float:
        """Mean average precision of the frames."""
        chosen = [(each, timeline) for each, timeline in lines if each.sound.kind in kinds]
        values = []
        for index, name in enumerate(self.names):
            truth = [
                frame_truth(
                    frame_edges(timeline.end_times, window_seconds, each.seconds),
                    spans_of(each.sound, name),
                )
                for each, timeline in chosen
            ]
            scores = np.concatenate([timeline.smooth[:, index] for _, timeline in chosen])
            values.append(average_precision(np.concatenate(truth), scores))
        known = [value for value in values if value is not None]
        return sum(known) / len(known)


def spans_of(sound: Sound, event: str) -> list[Span]:
    """When an event sounds."""
    return [span for label, span in sound.occurrences if label == event]


def candidates(lines: Sequence[tuple[Heard, Timeline]], kinds: Sequence[str], count: int = 40) -> list[float]:
    """Thresholds evenly spaced in rank among the highest peaks, lowest first."""
    peaks = [local_peaks(timeline.smooth) for each, timeline in lines if each.sound.kind in kinds]
    highest = np.sort(np.concatenate(peaks))[::-1]
    highest = highest[highest > 0.0][:1500]
    return np.unique(highest[np.linspace(0, len(highest) - 1, count).round().astype(int)]).tolist()


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    peak = logits.max(axis=-1)
    total: np.ndarray = peak + np.log(np.exp(logits - peak[..., None]).sum(axis=-1))
    return total


def probability(logits: np.ndarray) -> np.ndarray:
    """Logistic function."""
    result: np.ndarray = 1.0 / (1.0 + np.exp(-logits))
    return result


def shipped(bench: Bench, config: Config | None = None) -> Score:
    """Score as heads.py does."""
    config = config or bench.config
    texts = prompts_of(config)
    embedded = dict(zip(texts, bench.encoder.embed_text(texts), strict=True))
    return Head.build(config, embedded, bench.encoder.logit_scale).score


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
