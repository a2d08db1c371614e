"""`sound-monitor calibrate`: thresholds for a wanted rate of false alarms, from the sound of the room."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from monitor.config import Config, EventConfig
from monitor.errors import SinkError, SourceError, in_words
from monitor.evaluate import ends_of, hear
from monitor.evaluation.alerts import Tally
from monitor.evaluation.figures import tally_at
from monitor.evaluation.manifest import parse_mapping, read_manifest
from monitor.evaluation.rates import Rate
from monitor.evaluation.thresholds import Check, Proposal, check_by_halves, hours_of, propose
from monitor.evaluation.timeline import Recorder, Timeline, Track
from monitor.files import each_once, replace_file
from monitor.levels import level_dbfs_of
from monitor.metrics import Metrics
from monitor.pipeline import Outlet, Pipeline
from monitor.replay import replay
from monitor.scoring import Scorer
from monitor.types import Activity, Scores

_NAME_COLUMNS = 28
_NEXT_TO_NOTHING = 0.001
# No recording is this long, and no clock has been right that early: 1980.
_LIVE_SECONDS = 315_532_800.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    out: Path
    false_alarms_per_day: float
    """Of all events and sources together."""
    recordings: Sequence[Path] = ()
    minutes: float | None = None
    """How long to listen to the configured sources, where no recordings are given."""
    positives: Path | None = None
    """A manifest of recordings in which the events do sound."""
    mapping: Sequence[str] = ()
    force: bool = False
    as_json: bool = False


class Room(Outlet):
    """A live pipeline's outlet that keeps the scores of every unbroken stretch."""

    def __init__(self, config: Config) -> None:
        self._events = list(config.events)
        self._open: dict[str, Track] = {}
        self._closed: list[Track] = []

    def source_changed(self, source: str, online: bool) -> None:
        """Begin a stretch anew."""
        if not online and source in self._open:
            self._closed.append(self._open.pop(source))

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Keep a window's scores."""
        if scores.source not in self._open:
            self._open[scores.source] = Track(scores.source, self._events)
        self._open[scores.source].scores(scores, activities)

    def timelines(self) -> list[Timeline]:
        """Return what was heard so far."""
        return [track.timeline() for track in (*self._closed, *self._open.values())]


async def calibrate(config: Config, options: Options, scorer: Scorer | None = None) -> None:
    """Do what the command says; `scorer` is closed."""
    if options.out.exists() and not options.force:
        raise SinkError(f"--out {str(options.out)!r} is there already; give another name or --force")
    if not options.out.parent.is_dir():
        raise SinkError(
            f"--out {str(options.out)!r} can't be written: {str(options.out.parent)!r} is no folder; make it"
        )
    mapping = parse_mapping(options.mapping, config.events)
    manifest = read_manifest(options.positives, config.events, mapping) if options.positives else None
    if manifest is not None:
        await ends_of(manifest)  # before an hour of listening
    scorer = scorer or Scorer()
    try:
        if options.recordings:
            recorder, recordings = Recorder(list(config.events)), each_once(options.recordings)
            await replay(config, recordings, recorder, scorer)
            room = [timeline for timeline, _ in recorder.heard(recordings).values()]
        else:
            room = await _listen(config, (options.minutes or 60.0) * 60, scorer)
        hours = hours_of(room, config.windows.hop_seconds)
        if not hours:
            raise SourceError(
                f"nothing to go by: less than a window of {config.windows.window_seconds:g} s was heard; "
                "record an hour or more"
            )
        heard = await hear(config, manifest, scorer) if manifest is not None else {}
        identity = scorer.encoder.identity
    finally:
        scorer.close()
    proposals = propose(config, room, options.false_alarms_per_day)
    thresholds = {name: each.on_threshold for name, each in proposals.items()}
    tallies = tally_at(config, thresholds, list(heard.values())) if heard else {}
    check = check_by_halves(config, room, options.false_alarms_per_day)
    told = conclusions(options.false_alarms_per_day, proposals, check)
    _write(config, options, proposals, f"{hours:.3g} h of sound, encoder {identity}", told)
    if options.as_json:
        facts = _facts(config, options, proposals, tallies, check)
        print(json.dumps({"hours": hours, "encoder": identity} | facts))  # noqa: T201
    else:
        _report(config, options, proposals, tallies, told)


async def _listen(config: Config, seconds: float, scorer: Scorer) -> list[Timeline]:
    """Listen to the configured sources for so long, or until interrupted."""
    config = config.model_copy(update={"clips": None})  # none are written, so no veto needs to hear all
    scorer.use(await scorer.prepare(config))
    room = Room(config)
    pipeline = Pipeline(config, scorer, room, Metrics(CollectorRegistry(), config))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, pipeline.stop)
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("listening (Ctrl-C: enough)", total=seconds)

        async def stop_in_time() -> None:
            began = loop.time()
            while (elapsed := loop.time() - began) < seconds:
                progress.update(task, completed=elapsed)
                await asyncio.sleep(min(1.0, seconds - elapsed))
            pipeline.stop()

        timer = asyncio.create_task(stop_in_time(), name="timer")
        try:
            await pipeline.run()
        finally:
            timer.cancel()
            loop.remove_signal_handler(signal.SIGINT)
    return room.timelines()


def _overlay(event: EventConfig, proposal: Proposal) -> dict[str, object]:
    """Return what to write for an event: a level's thresholds are decibels."""
    on, off = proposal.on_threshold, proposal.off_threshold
    if event.level is None:
        return {"on_threshold": on, "off_threshold": off}
    return {"level": {"above_dbfs": round(level_dbfs_of(on), 2), "below_dbfs": round(level_dbfs_of(off), 2)}}


def _write(
    config: Config, options: Options, proposals: Mapping[str, Proposal], made_from: str, told: Sequence[str]
) -> None:
    """Write the overlay whole or not at all, and in it what is told on the terminal."""
    events = {name: _overlay(config.events[name], each) for name, each in proposals.items()}
    head = (
        f"Thresholds by `sound-monitor calibrate` from {made_from}.",
        "They go with the prompts, windows and smoothing of that configuration.",
        *told,
    )
    text = "".join(f"# {line}\n" for line in head)
    text += yaml.safe_dump({"events": events}, sort_keys=False, allow_unicode=True)
    try:
        replace_file(options.out, text, mode=0o644)
    except OSError as error:
        raise SinkError(f"--out {str(options.out)!r} can't be written: {in_words(error)}") from None


def _facts(
    config: Config,
    options: Options,
    proposals: Mapping[str, Proposal],
    tallies: Mapping[str, Tally],
    check: Check,
) -> dict[str, object]:
    """Return for a script what `_report` tells."""
    events = {
        name: {
            **asdict(each),
            "was": config.events[name].on_threshold,
            "recall": tallies[name].recall if tallies else None,
        }
        for name, each in proposals.items()
    }
    return {
        "events": events,
        "check": asdict(check),
        "says": conclusions(options.false_alarms_per_day, proposals, check),
        "written": str(options.out),
    }


def _report(
    config: Config,
    options: Options,
    proposals: Mapping[str, Proposal],
    tallies: Mapping[str, Tally],
    told: Sequence[str],
) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("event", no_wrap=True)
    for column in (
        "on at",
        "was",
        "false/day\nexpected",
        "\nlow - high",
        "alarms\nin this",
        "highest\nscore",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    if tallies:
        table.add_column("recall", justify="right", no_wrap=True)
    for name, each in proposals.items():
        source, seconds = each.highest_at
        table.add_row(
            name,
            _threshold(config.events[name], each.on_threshold),
            _threshold(config.events[name], config.events[name].on_threshold),
            *_rate_cells(each.false_per_day),
            str(each.false_in_recording),
            f"{each.highest:.3f}",
            f"{_short(Path(source).name)} {_clock(seconds)}",
            *([_recall(tallies[name])] if tallies else []),
        )
    console = Console()
    wanted = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, wanted)
    console.print(table, highlight=False)
    for line in told:
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"written: {options.out}", highlight=False, soft_wrap=True)


def conclusions(false_per_day: float, proposals: Mapping[str, Proposal], check: Check) -> list[str]:
    """Say what the table means, and what can't be promised."""
    rates = [each.false_per_day for each in proposals.values() if each.false_per_day is not None]
    expected = sum(rate.expected for rate in rates)
    alarms = f"{check.false} alarm{'' if check.false == 1 else 's'}"
    lines = [f"Expected in all: {expected:.3g} false alarms a day, of {false_per_day:g} wanted."]
    lines.append(
        f"Checked by halves: thresholds from each half gave {alarms} in the other, in {check.hours:.3g} h: "
        f"at most {check.per_day.high:.3g} a day (95 %)."
    )
    if not check.promises(false_per_day):
        lines.append(
            f"Too short to promise {false_per_day:g} a day: that takes {check.hours_needed:.3g} h without a "
            "false alarm. Beyond the recording the thresholds rest on how its highest scores fall off."
        )
    if check.per_day.low > false_per_day:
        lines.append(
            "The halves differ more than by chance: record long enough to have all that your room does."
        )
    if quiet := [name for name, each in proposals.items() if each.false_per_day is None]:
        lines.append(
            f"Too few peaks to go by: {', '.join(quiet)}. Left as they were, or put well above the highest."
        )
    if short := [name for name, each in proposals.items() if each.too_short]:
        lines.append(
            f"Heard too shortly to place by the rate: {', '.join(short)}. "
            "Left as they were, or put well above the highest."
        )
    if hopeless := [name for name, each in proposals.items() if not each.within_reach]:
        lines.append(
            f"No threshold gives the wanted rate in this room: {', '.join(hopeless)}. "
            "Give negatives for what sounds where their scores are highest, or remove them."
        )
    lines.append("If an event did happen where its score is highest, cut that out and calibrate again.")
    return lines


def _threshold(event: EventConfig, score: float) -> str:
    return f"{score:.4g}" if event.level is None else f"{level_dbfs_of(score):.4g} dBFS"


def _rate_cells(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "-", "-"
    return _rough(rate.expected), f"{_rough(rate.low)} - {_rough(rate.high)}"


def _rough(value: float) -> str:
    """Write a number to two digits; what is next to nothing isn't worth an exponent."""
    if 0.0 < value < _NEXT_TO_NOTHING:
        return f"<{_NEXT_TO_NOTHING:g}"
    return f"{float(f'{value:.2g}'):g}"


def _recall(tally: Tally) -> str:
    return "-" if tally.recall is None else f"{tally.recall:.2f} ({tally.right}/{tally.occurrences})"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_COLUMNS else f"{name[: _NAME_COLUMNS - 1]}…"


def _clock(seconds: float) -> str:
    """Write a time within a recording; live, the local time of day."""
    if seconds >= _LIVE_SECONDS:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02d}:{rest:04.1f}"
