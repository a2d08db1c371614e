"""Arguments of the commands that ask the past."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from monitor import commands_past
from monitor.arguments import positive, takes_config, takes_overlays, words

_UNITS_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class AddCommand(Protocol):
    """Adds a command to the parser."""

    def __call__(
        self,
        name: str,
        handler: Callable[[argparse.Namespace], int],
        summary: str,
        *examples: str,
        notes: str = "",
    ) -> argparse.ArgumentParser: ...


def add_commands(command: AddCommand) -> None:
    """Add `search`, `index`, `backtest` and `history`."""
    _add_search(command)
    _add_index(command)
    _add_backtest(command)
    _add_history(command)


def duration(text: str) -> float:
    """Read seconds: `90`, `10s`, `5m`, `24h`, `7d` or `2w`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    if found is None or found[2] not in _UNITS_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 30s, 10m, 24h or 7d")
    return float(found[1]) * _UNITS_SECONDS[found[2]]


def time_of(text: str) -> float:
    """Read Unix seconds: how long ago (`24h`), or a date and time, local where no zone is given."""
    try:
        return time.time() - duration(text)
    except argparse.ArgumentTypeError:
        try:
            return datetime.fromisoformat(text).astimezone().timestamp()
        except ValueError:
            says = (
                f"{text!r} is no time; write how long ago (24h, 7d) or a date (2026-01-31, 2026-01-31T18:00)"
            )
            raise argparse.ArgumentTypeError(says) from None


def _add_search(command: AddCommand) -> None:
    search = command(
        "search",
        commands_past.search,
        "find the moments that sound most like some words, or like a recording",
        'search "sound of train" --since 24h',
        'search "glass breaking" "a window smashing" --not "people talking" --config config/home.yaml',
        "search --like squeak.wav --source hall --plot squeaks.png",
        'search "a dog barking" --index ~/recordings --json',
        notes="It searches what the monitor has heard, where `history` is on in its configuration, or\n"
        "recordings that `sound-monitor index` has been through. Several wordings are averaged. The\n"
        "score is what an event with these words would have scored at that moment, before smoothing.",
    )
    search.add_argument("words", nargs="*", type=words, metavar="WORDS", help="the sound in your own words")
    search.add_argument(
        "--not",
        nargs="+",
        default=(),
        type=words,
        metavar="WORDS",
        dest="negatives",
        help="and not like this",
    )
    search.add_argument(
        "--like", nargs="+", default=(), type=Path, metavar="SOUND", help="and like these recordings"
    )
    _takes_archive(search)
    _takes_span(search)
    search.add_argument("--top", type=_count, default=20, metavar="N", help="how many moments (default: 20)")
    search.add_argument(
        "--min-gap",
        type=duration,
        default=10.0,
        metavar="TIME",
        help="what is nearer than this is one moment (default: 10s)",
    )
    search.add_argument("--plot", type=Path, metavar="PNG", help="draw the score over time")
    search.add_argument("--json", action="store_true", help="print JSON")


def _add_index(command: AddCommand) -> None:
    index = command(
        "index",
        commands_past.index,
        "prepare a folder of recordings for search",
        "index ~/recordings",
        "index /mnt/archive --config config/home.yaml --to ~/archive-index",
        notes="Reads every recording that libsndfile or ffmpeg can read, once: later runs take what is new\n"
        "or has changed, and a run that was interrupted goes on. What can't be read is told and left out.",
    )
    index.add_argument("directory", type=Path, metavar="DIR", help="the recordings, folders within it too")
    index.add_argument("--to", type=Path, metavar="DIR", help="where the index is put (default: within DIR)")
    index.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="its encoder and windows (default: compact, 2 s every second)",
    )
    index.add_argument("--json", action="store_true", help="print JSON")


def _add_backtest(command: AddCommand) -> None:
    backtest = command(
        "backtest",
        commands_past.backtest,
        "tell what a new or changed configuration would have told of what was heard",
        "backtest new.yaml --since 7d",
        "backtest new.yaml --since 7d --false-alarms-per-day 0.5 --json",
        "backtest new.yaml --index ~/recordings",
        notes="Scoring, smoothing and rules run on the stored embeddings, and give the same events as live.\n"
        "The configuration must have the encoder and the windows of the history, or of an index made by\n"
        "`index ~/recordings --config new.yaml`.",
    )
    takes_config(backtest)
    _takes_place(backtest)
    _takes_span(backtest)
    backtest.add_argument(
        "--false-alarms-per-day",
        type=positive,
        default=1.0,
        metavar="N",
        help="propose thresholds for so many peaks a day, of all events and sources together (default: 1)",
    )
    backtest.add_argument("--json", action="store_true", help="print JSON, every occurrence in it")


def _add_history(command: AddCommand) -> None:
    history = command(
        "history",
        commands_past.history_info,
        "tell what is kept of what was heard, or delete it",
        "history info",
        "history delete --before 7d",
        "history delete --before 2026-01-31T18:00 --source bedroom --config config/home.yaml",
    )
    actions = history.add_subparsers(required=True, metavar="ACTION")
    telling = actions.add_parser("info", help="sizes, times and encoders, by source")
    telling.set_defaults(handler=commands_past.history_info)
    _takes_archive(telling, index=False)
    telling.add_argument("--verify", action="store_true", help="read everything and compare checksums")
    telling.add_argument("--json", action="store_true", help="print JSON")
    deleting = actions.add_parser("delete", help="delete what was heard before a time, for good")
    deleting.set_defaults(handler=commands_past.history_delete)
    _takes_archive(deleting, index=False)
    deleting.add_argument(
        "--before", required=True, type=time_of, metavar="TIME", help="how long ago (7d), or a date; 0s: all"
    )
    deleting.add_argument("--source", action="append", metavar="NAME", help="of this source; may be repeated")
    deleting.add_argument("--json", action="store_true", help="print JSON")


def _takes_archive(parser: argparse.ArgumentParser, *, index: bool = True) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="its history, encoder and background (default: the usual ones)",
    )
    takes_overlays(parser)
    _takes_place(parser, index=index)


def _takes_place(parser: argparse.ArgumentParser, *, index: bool = True) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--history", type=Path, metavar="DIR", help="this history instead")
    if index:
        place.add_argument(
            "--index", type=Path, metavar="DIR", help="recordings, prepared by `index`, instead"
        )


def _takes_span(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        type=time_of,
        default=float("-inf"),
        metavar="TIME",
        help="how long ago (24h, 7d), or a date and time (default: all)",
    )
    parser.add_argument(
        "--until", type=time_of, default=float("inf"), metavar="TIME", help="the same (default: now)"
    )
    parser.add_argument("--source", action="append", metavar="NAME", help="only this one; may be repeated")


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 10000")
    return value
