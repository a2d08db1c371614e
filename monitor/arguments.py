"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path


def takes_config(parser: argparse.ArgumentParser) -> None:
    """Take the configuration, and overlays."""
    parser.add_argument("config", type=Path, metavar="FILE", help="the configuration, YAML")
    takes_overlays(parser)


def takes_overlays(parser: argparse.ArgumentParser) -> None:
    """Take files of settings that go on top."""
    parser.add_argument(
        "--overlay",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a file of settings that go on top, such as calibrated thresholds; may be repeated",
    )


def takes_json(parser: argparse.ArgumentParser, what: str = "print JSON") -> None:
    """Take `--json`, for scripts."""
    parser.add_argument("--json", action="store_true", help=what)


def takes_mapping(parser: argparse.ArgumentParser) -> None:
    """Take names for labels."""
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        type=words,
        metavar="LABEL=EVENT",
        help="a label that stands for an event of another name; may be repeated",
    )


def words(text: str) -> str:
    """Read what may be said in any language, also where the locale knows ASCII only."""
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError(f"{text!r} isn't UTF-8; write it in UTF-8") from None


def positive(text: str) -> float:
    """Read a finite number above 0."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
