"""What the commands do that ask the past; heavy modules are imported where they are used."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from monitor import interrupt
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.history.folder import Folder
    from monitor.past.index import Index

OK = 0
_INDEX_HOP_SECONDS, _INDEX_WINDOW_SECONDS = 1.0, 2.0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def search(arguments: argparse.Namespace) -> int:
    """Find moments."""
    if not (arguments.words or arguments.like):
        raise ConfigError('search: nothing to look for; give words ("a dog barking") or --like RECORDING')
    from monitor.wording import require_words  # noqa: PLC0415

    require_words((*arguments.words, *arguments.negatives), "search")
    from monitor.history.values import HistoryError  # noqa: PLC0415
    from monitor.past import report  # noqa: PLC0415
    from monitor.past.ask import Scope, ask  # noqa: PLC0415
    from monitor.past.query import Query, plain_config  # noqa: PLC0415
    from monitor.scoring import Scorer  # noqa: PLC0415

    config, archive = _config(arguments), _archive(arguments)
    if config is None:
        kind = archive.newest_kind()
        config = plain_config(kind.model, kind.window_seconds, kind.hop_seconds)
    scope = Scope(arguments.since, arguments.until, arguments.source, arguments.top, arguments.min_gap)
    query = Query(arguments.words, arguments.negatives, arguments.like)
    clips = config.clips.directory if config.clips else None
    scorer, began = Scorer(), time.perf_counter()
    try:
        with _progress("searching") as (progress, task):
            progress.update(task, total=archive.count(scope.since, scope.until, scope.sources) or None)
            found = interrupt.run(
                ask(
                    query,
                    config,
                    scorer,
                    archive,
                    scope,
                    clips=clips,
                    advance=lambda _: progress.advance(task),
                )
            )
    finally:
        scorer.close()
    took_seconds = time.perf_counter() - began
    if not found.windows:
        raise HistoryError(report.nothing_found(found))
    if arguments.plot is not None:
        from monitor.past.plot import plot_search  # noqa: PLC0415

        plot_search(found, arguments.words, arguments.plot, recordings=arguments.index is not None)
    if arguments.json:
        _say(json.dumps(report.found_as_json(found, took_seconds), ensure_ascii=False))
    else:
        report.print_found(found, took_seconds, recordings=arguments.index is not None)
    return OK


def index(arguments: argparse.Namespace) -> int:
    """Go through recordings."""
    from monitor.encoders import load_encoder  # noqa: PLC0415
    from monitor.past import report  # noqa: PLC0415
    from monitor.past.index import Index  # noqa: PLC0415
    from monitor.past.query import plain_config  # noqa: PLC0415

    config = _config(arguments) or plain_config("compact", _INDEX_WINDOW_SECONDS, _INDEX_HOP_SECONDS)
    encoder = load_encoder(config.encoder)
    began = time.perf_counter()
    with _progress("indexing") as (progress, task):

        def tell(name: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=name[-40:])

        done = Index(arguments.directory, arguments.to).update(config, encoder, tell)
    took_seconds = time.perf_counter() - began
    for failure in done.failures:
        sys.stderr.write(f"left out: {failure}\n")
    if arguments.json:
        _say(json.dumps(report.indexed_as_json(done, took_seconds), ensure_ascii=False))
    else:
        _say(report.indexed_in_words(done, took_seconds))
    return OK


def backtest(arguments: argparse.Namespace) -> int:
    """Try a configuration."""
    from monitor.config_file import load_config  # noqa: PLC0415
    from monitor.history.values import HistoryError  # noqa: PLC0415
    from monitor.past import backtest as trying  # noqa: PLC0415
    from monitor.past import report_backtest  # noqa: PLC0415
    from monitor.past.query import Question  # noqa: PLC0415
    from monitor.scoring import Scorer  # noqa: PLC0415

    config = load_config(arguments.config, overlays=arguments.overlay)
    archive = _archive(arguments, config)
    archive.newest_kind()
    scorer = Scorer()
    try:
        prepared = interrupt.run(scorer.prepare(config))
    finally:
        scorer.close()
    span = arguments.since, arguments.until, arguments.source
    with _progress("trying") as (progress, task):
        progress.update(task, total=archive.count(*span) or None)
        trial = trying.backtest(
            archive.segments(*span),
            config,
            Question(prepared.head, prepared.encoder.identity),
            since=arguments.since,
            until=arguments.until,
            advance=lambda _: progress.advance(task),
        )
    if not trial.windows:
        raise HistoryError(report_backtest.nothing_tried(trial, of_recordings=arguments.index is not None))
    summary = report_backtest.summarise(config, trial, arguments.false_alarms_per_day)
    if arguments.json:
        _say(json.dumps(report_backtest.as_json(trial, summary), ensure_ascii=False))
    else:
        report_backtest.print_trial(trial, summary, arguments.false_alarms_per_day)
    return OK


def history_info(arguments: argparse.Namespace) -> int:
    """Tell what is kept."""
    from monitor.past import report  # noqa: PLC0415

    folder = _folder(arguments, _config(arguments))
    folder.newest_kind()
    facts = report.describe(folder, verify=arguments.verify)
    if arguments.json:
        _say(json.dumps(facts, ensure_ascii=False))
    else:
        report.print_facts(folder, facts)
    return OK


def history_delete(arguments: argparse.Namespace) -> int:
    """Delete for good."""
    folder = _folder(arguments, _config(arguments))
    folder.newest_kind()
    folder.check_sources(arguments.source)
    interrupt.end_in_order()
    windows, freed = folder.delete(arguments.before, time.time(), arguments.source)
    if arguments.json:
        _say(json.dumps({"windows": windows, "freed_bytes": freed}))
    else:
        _say(f"deleted {windows} windows: {freed / 1e6:.1f} MB freed, the rest overwritten in place")
    return OK


def _config(arguments: argparse.Namespace) -> Config | None:
    if arguments.config is None:
        return None
    from monitor.config_file import load_config  # noqa: PLC0415

    return load_config(arguments.config, overlays=getattr(arguments, "overlay", ()))


def _folder(arguments: argparse.Namespace, config: Config | None) -> Folder:
    from monitor.directories import default_state_directory, history_directory  # noqa: PLC0415
    from monitor.history.folder import Folder  # noqa: PLC0415

    if arguments.history is not None:
        return Folder(arguments.history)
    return Folder(history_directory(config) if config else default_state_directory() / "history")


def _archive(arguments: argparse.Namespace, config: Config | None = None) -> Folder | Index:
    if arguments.index is None:
        folder = _folder(arguments, config or _config(arguments))
        folder.check_sources(arguments.source)
        return folder
    from monitor.past.index import Index  # noqa: PLC0415

    return Index.at(arguments.index)


@contextmanager
def _progress(what: str) -> Iterator[tuple[Progress, TaskID]]:
    interrupt.end_in_order()
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        yield progress, progress.add_task(what, total=None)
