"""What `search`, `index` and `history` say."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from monitor.history.folder import Folder
from monitor.history.segment import Segment, size_of
from monitor.past.index import Indexed
from monitor.past.search import Found, Moment


def clock(seconds: float, *, recordings: bool = False) -> str:
    """Write a time: the local date and time of day, or minutes and seconds within a recording."""
    if not recordings:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    minutes, rest = divmod(max(seconds, 0.0), 60.0)
    return f"{int(minutes)}:{rest:04.1f}"


def print_found(found: Found, took_seconds: float, *, recordings: bool) -> None:
    """Print the moments as a table, and what was searched."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("from", no_wrap=True)
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("recording" if recordings else "source", overflow="fold")
    table.add_column("level", justify="right", no_wrap=True)
    if not recordings:
        table.add_column("told", overflow="fold")
        table.add_column("clip", overflow="fold")
    for moment in found.moments:
        row = [
            f"{moment.score:.3f}",
            clock(moment.start_time, recordings=recordings),
            f"{moment.end_time - moment.start_time:.1f} s",
            _printable(moment.source),
            f"{moment.level_dbfs:.0f} dBFS",
        ]
        table.add_row(*row, *([] if recordings else [", ".join(moment.events), moment.clip or ""]))
    console = Console()
    console.width = max(console.width, 100)
    if found.moments:
        console.print(table, highlight=False, markup=False)
    hours = f"{found.hours:.3g} h of sound in {took_seconds:.1f} s"
    console.print(f"Searched {hours}, {found.windows} windows.", highlight=False, soft_wrap=True)
    for line in foreign_in_words(found.foreign):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _printable(text: str) -> str:
    """File names may hold bytes that are no text."""
    return text.encode(errors="replace").decode()


def foreign_in_words(foreign: Mapping[str, float]) -> list[str]:
    """Say what was left out, since embeddings of different encoders can't be compared."""
    return [
        f"Left out: {hours:.3g} h that the encoder {encoder} heard; only the same one can search them."
        for encoder, hours in foreign.items()
    ]


def nothing_found(found: Found) -> str:
    """Say why there was nothing to search."""
    if found.foreign:
        return "nothing that could be searched. " + " ".join(foreign_in_words(found.foreign))
    return "nothing was heard in that time; give another --since, --until or --source"


def moment_as_json(moment: Moment) -> dict[str, Any]:
    """Return a moment's fields; times in seconds."""
    fields = asdict(moment) | {"source": _printable(moment.source)}
    return {key: _rounded(value) for key, value in fields.items()}


def found_as_json(found: Found, took_seconds: float) -> dict[str, Any]:
    """Return everything but the single windows."""
    return {
        "moments": [moment_as_json(moment) for moment in found.moments],
        "windows": found.windows,
        "hours": round(found.hours, 4),
        "hours_of_other_encoders": {name: round(hours, 4) for name, hours in found.foreign.items()},
        "took_seconds": round(took_seconds, 3),
    }


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def indexed_in_words(done: Indexed, took_seconds: float) -> str:
    """Say what a run of `index` has done."""
    counts = [f"{done.added} new or changed", f"{done.unchanged} as they were", f"{done.removed} gone"]
    if done.failures:
        counts.append(f"{len(done.failures)} left out")
    return f"recordings: {', '.join(counts)}; {done.seconds / 3600:.3g} h of sound in {took_seconds:.1f} s"


def indexed_as_json(done: Indexed, took_seconds: float) -> dict[str, Any]:
    """Return the same, and every failure."""
    return asdict(done) | {"took_seconds": round(took_seconds, 3)}


def describe(folder: Folder, *, verify: bool) -> list[dict[str, Any]]:
    """Return a fact sheet for each source and encoder; with `verify`, everything is read."""
    sheets: dict[tuple[str, str], dict[str, Any]] = {}
    for place in folder.places():
        segment = Segment.open(place.stem)
        kind = None if segment is None else segment.kind
        encoder = kind.encoder if kind else "(can't be read)"
        sheet = sheets.setdefault(
            (place.source, encoder),
            {"source": place.source, "encoder": encoder, "since": None, "until": None}
            | dict.fromkeys(("hours", "windows", "embedded", "segments", "bytes", "damaged"), 0),
        )
        sheet["segments"] += 1
        sheet["bytes"] += size_of(place.stem)
        if segment is None or kind is None or segment.span is None:
            continue
        since, until = segment.span
        sheet["since"] = since if sheet["since"] is None else min(sheet["since"], since)
        sheet["until"] = until if sheet["until"] is None else max(sheet["until"], until)
        sheet["hours"] += len(segment) * kind.hop_seconds / 3600
        sheet["windows"] += len(segment)
        sheet["embedded"] += segment.embedded
        sheet["damaged"] += segment.damaged() if verify else 0
    return [{key: _rounded(value) for key, value in sheet.items()} for sheet in sheets.values()]


def print_facts(folder: Folder, sheets: list[dict[str, Any]]) -> None:
    """Print the fact sheets as a table."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=str(folder.path), title_justify="left")
    for column in ("source", "encoder", "from", "until"):
        table.add_column(column, no_wrap=True)
    for column in ("hours", "windows", "MB", "damaged"):
        table.add_column(column, justify="right", no_wrap=True)
    for sheet in sheets:
        table.add_row(
            sheet["source"],
            sheet["encoder"],
            "-" if sheet["since"] is None else clock(sheet["since"]),
            "-" if sheet["until"] is None else clock(sheet["until"]),
            f"{sheet['hours']:.4g}",
            str(sheet["windows"]),
            f"{sheet['bytes'] / 1e6:.1f}",
            str(sheet["damaged"]),
        )
    console = Console()
    console.width = max(console.width, 120)
    console.print(table, highlight=False, markup=False)
    total = sum(sheet["bytes"] for sheet in sheets)
    console.print(f"{total / 1e6:.1f} MB in all", highlight=False)
