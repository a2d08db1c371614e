"""Where scores are compared: recordings embedded once, thresholds chosen, alerts counted."""

from __future__ import annotations

import pickle
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monitor.activity import Started
from monitor.config import Config, EmaSmoothing, Smoothing
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


def shipped(bench: Bench, config: Config | None = None) -> Score:
    """Score as heads.py does."""
    config = config or bench.config
    texts = prompts_of(config)
    embedded = dict(zip(texts, bench.encoder.embed_text(texts), strict=True))
    return Head.build(config, embedded, bench.encoder.logit_scale).score
