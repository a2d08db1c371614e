"""`sound-monitor replay`: recordings through the real path, lossless, as fast as possible."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from monitor.config import Config, FileSource, HistoryConfig, SourceConfig
from monitor.errors import SinkError, in_words
from monitor.fields import plain_name
from monitor.files import each_once
from monitor.history.folder import Folder
from monitor.history.values import HistoryError, Kind
from monitor.metrics import Metrics
from monitor.pipeline import Outlet, Pipeline
from monitor.recorder import kind_of, recording
from monitor.scoring import Scorer
from monitor.sinks.messages import event_fields
from monitor.sources.file import Recording, duration_seconds
from monitor.types import Activity, Event, FloatArray, Scores, Source, Window

# Files that are open together: enough to fill batches, few enough for any limit of file handles.
_TOGETHER = 16


class Observer(Protocol):
    """Sees what a replay gives, in the order of each file's time; times are seconds from its beginning."""

    def event(self, file: Path, event: Event) -> None:
        """See a start or an end."""

    def scores(self, file: Path, scores: Scores, activities: Sequence[Activity]) -> None:
        """See the scores of one window; `scores.values` aligned to the configured events."""


class _Relay(Outlet):
    """A pipeline's outlet that knows which file a source stands for."""

    def __init__(
        self,
        files: Mapping[str, Path],
        observer: Observer,
        keeper: Outlet,
        progress: Callable[[float], None],
    ) -> None:
        self._files = files
        self._observer = observer
        self._keeper = keeper
        self._progress = progress
        self._seen = dict.fromkeys(files, 0.0)

    async def deliver(self, event: Event) -> None:
        self._observer.event(self._files[event.source], event)
        await self._keeper.deliver(event)

    def source_changed(self, source: str, online: bool) -> None:
        self._keeper.source_changed(source, online)

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        self._keeper.embedded(windows, embeddings)

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        self._observer.scores(self._files[scores.source], scores, activities)
        self._progress(scores.end_time - self._seen[scores.source])
        self._seen[scores.source] = scores.end_time


def slugs(files: Sequence[Path]) -> dict[str, Path]:
    """Name each file by a slug made of its stem, numbered where two would be the same."""
    named: dict[str, Path] = {}
    for file in files:
        stem = plain_name(file.stem)[:56].rstrip("_") or "file"
        slug, number = stem, 2
        while slug in named:
            slug, number = f"{stem}_{number}", number + 1
        named[slug] = file
    return named


async def replay(
    config: Config, files: Sequence[Path], observer: Observer, scorer: Scorer, keeper: Outlet | None = None
) -> None:
    """Run every file once through windows, scoring, smoothing and the state machines, and tell the observer.

    The embeddings and events go to `keeper` too. All events are listened for, whatever sources they name.
    Raises SourceError for a file that can't be read or is damaged, EncoderError for a model that can't be
    loaded or run.
    """
    events = {
        name: event.model_copy(update={"sources": None, "schedule": None})
        for name, event in config.events.items()
    }
    # No clips are written, and a veto on them needn't hear what no event does.
    config = config.model_copy(update={"events": events, "clips": None})
    scorer.use(await scorer.prepare(config))
    files = each_once(files)
    named = list(slugs(files).items())
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("replaying", total=sum(map(duration_seconds, files)))
        for first in range(0, len(named), _TOGETHER):
            group = dict(named[first : first + _TOGETHER])
            relay = _Relay(
                group, observer, keeper or Outlet(), lambda seconds: progress.advance(task, seconds)
            )
            await _replay_together(config, group, relay, scorer)


async def _replay_together(config: Config, files: Mapping[str, Path], relay: _Relay, scorer: Scorer) -> None:
    sources = {slug: FileSource(type="file", path=file, realtime=False) for slug, file in files.items()}
    config = config.model_copy(update={"sources": sources})
    metrics = Metrics(CollectorRegistry(), config)
    await Pipeline(config, scorer, relay, metrics, lossless=True, open_source=_from_zero).run()


def _from_zero(name: str, config: SourceConfig, rate_hz: int) -> Source:
    if not isinstance(config, FileSource):
        msg = f"only recordings can be replayed, not a source of type {config.type}"
        raise TypeError(msg)
    return Recording(name, config, rate_hz, anchor=0.0)


class Printer:
    """Events as JSON lines, and if wanted the timeline of the scores that are decided on as TSV."""

    def __init__(self, config: Config, out: TextIO, scores: TextIO | None) -> None:
        self._out = out
        self._table: Any = None
        if scores is not None:
            self._table = csv.writer(scores, dialect="excel-tab", lineterminator="\n")
            self._table.writerow(["source", "time", *config.events])

    def event(self, file: Path, event: Event) -> None:
        """Print it."""
        self._out.write(json.dumps({"file": str(file), **event_fields(event)}, ensure_ascii=False) + "\n")

    def scores(self, file: Path, scores: Scores, activities: Sequence[Activity]) -> None:
        """Write a row: file, end of the window in seconds from the file's beginning, smoothed scores."""
        if self._table is not None:
            smooth = [f"{activity.smooth:.6g}" for activity in activities]
            self._table.writerow([str(file), f"{scores.end_time:.3f}", *smooth])


@contextmanager
def _table(path: Path) -> Iterator[TextIO]:
    """Open a table for writing; raises SinkError, where the disk is full on leaving."""
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
    except OSError as error:
        raise SinkError(f"--scores {str(path)!r} can't be written: {in_words(error)}") from None


def _refuse_twice(history: Path, files: Sequence[Path]) -> None:
    """Raise HistoryError where the folder holds one of the recordings, or another of its name, already."""
    for place in Folder(history).places(sources=slugs(each_once(files))):
        raise HistoryError(
            f"--history {str(history)!r} holds a recording named {place.source} already; "
            f"give another folder, or remove {str(history / place.source)!r} first"
        )


async def print_replay(
    config: Config, files: Sequence[Path], scores: Path | None, history: Path | None
) -> None:
    """Do what the command says; raises HistoryError where the disk can't keep up with `history`."""
    for file in files:
        # A slip in a name costs neither the table of another day nor the minutes before its turn.
        await asyncio.to_thread(duration_seconds, file)
    if history is not None:
        _refuse_twice(history, files)
    async with AsyncExitStack() as stack:
        table = stack.enter_context(_table(scores)) if scores is not None else None
        scorer = Scorer()
        stack.callback(scorer.close)
        printer = Printer(config, sys.stdout, table)
        if history is None:
            await replay(config, files, printer, scorer)
            return
        config = config.model_copy(update={"history": HistoryConfig(directory=history)})

        def describe(window: Window, dimension: int) -> Kind:
            return kind_of(window, dimension, scorer.encoder, config)

        recorder = await stack.enter_async_context(recording(history, describe))
        await replay(config, files, printer, scorer, recorder)
        if recorder.dropped:
            lost = f"{recorder.dropped} windows couldn't be written"
            raise HistoryError(f"--history {str(history)!r}: {lost}; a warning above says why")
