"""`sound-monitor eval`: the real path over labelled recordings, and how good it was."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.progress import track

from monitor.classify import cover
from monitor.config import Config
from monitor.errors import ConfigError
from monitor.evaluation.clips import ClipFigures, judge_clips
from monitor.evaluation.figures import Heard, evaluate_timelines
from monitor.evaluation.manifest import Manifest, parse_mapping, read_manifest, refuse_rows
from monitor.evaluation.plot import check_out, plot_confusion, plot_evaluation
from monitor.evaluation.report import (
    alert_report,
    clip_fields,
    clip_report,
    confusion_report,
    evaluation_fields,
    score_report,
)
from monitor.evaluation.sed import library
from monitor.evaluation.timeline import Recorder
from monitor.replay import replay
from monitor.scoring import Scorer
from monitor.sources.file import duration_seconds

_WIDEST_COLUMNS = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    manifest: Path
    mapping: Sequence[str] = ()
    json: bool = False
    confusion: bool = False
    plot: Path | None = None


async def ends_of(manifest: Manifest) -> dict[Path, float]:
    """Return the length of each recording in seconds; raises ConfigError for labels that lie behind it."""
    ends = {file: await asyncio.to_thread(duration_seconds, file) for file in manifest.recordings}
    refuse_rows(
        manifest.path,
        [
            f"{each.where}: onset {each.onset:g} is behind the end of {file.name!r} at {ends[file]:.3f} s"
            for file, found in manifest.recordings.items()
            for each in found
            if each.onset >= ends[file]
        ],
    )
    return ends


async def hear(config: Config, manifest: Manifest, scorer: Scorer) -> dict[Path, Heard]:
    """Run the recordings through the pipeline, lossless, and put what was heard beside the truth."""
    files = list(manifest.recordings)
    recorder = Recorder(list(config.events))
    ends = await ends_of(manifest)
    await replay(config, files, recorder, scorer)
    heard = {}
    for file, (timeline, alerts) in recorder.heard(files).items():
        known, other = [], []
        for each in manifest.recordings[file]:
            span = each.onset, min(each.offset, ends[file])
            if each.event is None:
                other.append(span)
            else:
                known.append((each.event, span))
        heard[file] = Heard(timeline, alerts, ends[file], known, other)
    return heard


async def tell_clips_apart(config: Config, manifest: Manifest, scorer: Scorer) -> ClipFigures:
    """Give each clip to one of the configured events, by one softmax over all their prompts."""
    truth = {}
    for file, found in manifest.recordings.items():
        events = {each.event for each in found if each.event}
        if len(events) > 1:
            labels = ", ".join(sorted(events))
            raise ConfigError(f"{file}: has several labels ({labels}); a clip is judged by one")
        if events:
            truth[file] = events.pop()
    refuse_rows(
        manifest.path,
        [
            f"{_row_of(manifest, file)}: {event} has no prompts, which clips are told apart by; leave it out"
            for file, event in truth.items()
            if not config.events[event].prompts
        ],
    )
    if unlabelled := sum(not found for found in manifest.recordings.values()):
        print(f"left out: clips without a label ({unlabelled})", file=sys.stderr)  # noqa: T201
    scorer.use(await scorer.prepare(config.model_copy(update={"scoring": "exclusive"})))
    console = Console(stderr=True)
    scores, silent = {}, []
    for file in track(truth, "listening", console=console, disable=not console.is_terminal):
        windows = await asyncio.to_thread(list, cover(file, scorer.encoder))
        scored = await scorer.score(windows)
        scores[file] = scored.values.mean(axis=0)
        if not scored.embeddings.any():
            silent.append(f"{_row_of(manifest, file)}: {file.name!r} holds nothing but silence; leave it out")
    refuse_rows(manifest.path, silent)
    return judge_clips(list(config.events), truth, scores)


def _row_of(manifest: Manifest, file: Path) -> str:
    return manifest.recordings[file][0].where


async def evaluate(config: Config, options: Options, scorer: Scorer | None = None) -> None:
    """Do what the command says; `scorer` is closed."""
    mapping = parse_mapping(options.mapping, config.events)
    manifest = read_manifest(options.manifest, config.events, mapping)
    _refuse(options, manifest)
    scorer = scorer or Scorer()
    try:
        if manifest.whole:
            figures = await tell_clips_apart(config, manifest, scorer)
            parts = [clip_report(figures), *([confusion_report(figures)] if options.confusion else [])]
            _print(parts, clip_fields(figures, manifest.unknown_labels), manifest, options)
            if options.plot is not None:
                _drawn(plot_confusion(figures, options.plot))
            return
        heard = await hear(config, manifest, scorer)
    finally:
        scorer.close()
    waiting = Console(stderr=True)
    with waiting.status("judging"):
        evaluation = await asyncio.to_thread(
            evaluate_timelines, config, {str(file): each for file, each in heard.items()}
        )
    parts = [alert_report(evaluation)]
    if evaluation.best_threshold is not None:
        parts.append(score_report(evaluation))
    _print(parts, evaluation_fields(evaluation, manifest.unknown_labels), manifest, options)
    if options.plot is not None:
        with waiting.status("drawing"):
            pictures = await asyncio.to_thread(plot_evaluation, config, heard, options.plot)
        _drawn(pictures)


def _refuse(options: Options, manifest: Manifest) -> None:
    """Tell what can't be had before minutes of listening."""
    if not manifest.whole:
        library()
        if options.confusion:
            raise ConfigError(
                "--confusion: is for whole clips, and this manifest has onsets and offsets; leave it out"
            )
    if options.plot is not None:
        check_out(options.plot)


def _drawn(pictures: Sequence[Path]) -> None:
    for picture in pictures:
        print(f"drawn: {picture}", file=sys.stderr)  # noqa: T201


def _print(parts: Sequence[Group], fields: object, manifest: Manifest, options: Options) -> None:
    if options.json:
        sys.stdout.write(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
        return
    console = Console()
    for part in parts:
        # Lines that a narrow terminal wraps can still be read, figures cut short can't.
        wanted = console.measure(part, options=console.options.update(width=_WIDEST_COLUMNS)).maximum
        console.width = max(console.width, wanted)
        console.print(part, highlight=False)
    if manifest.unknown_labels:
        labels = ", ".join(f"{label} ({count})" for label, count in manifest.unknown_labels.items())
        console.print(f"labels that no event stands for: {labels}")
