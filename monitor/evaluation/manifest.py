"""Labelled recordings as a table: which file holds which event, and from when to when."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from monitor.errors import ConfigError, in_words
from monitor.fields import plain_name
from monitor.redact import one_line

_REQUIRED = ("path", "label")
_TIMES = ("onset", "offset")
_LIKE_TIMES = frozenset(
    f"{name}{unit}"
    for name in ("onset", "offset", "start", "begin", "end", "stop", "start_time", "end_time")
    for unit in ("", "_s", "_sec", "_seconds")
)
_MAX_FINDINGS = 10


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A stretch of a recording in which something sounds."""

    event: str | None
    """The configured event that it is; None for a sound that no event listens for."""
    onset: float
    """Seconds from the recording's beginning."""
    offset: float
    """Seconds; infinite where the label holds for the whole recording."""
    where: str = field(default="", compare=False)
    """The row, as file:line, for errors."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The truth about some recordings."""

    path: Path
    """The table itself."""
    recordings: Mapping[Path, tuple[Occurrence, ...]]
    """In the table's order; an empty tuple for a recording without any labelled sound."""
    whole: bool
    """Labels hold for whole recordings (clips); else every label has its times."""
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    """Labels that no event of the configuration stands for, and how often they occur."""

    def events(self) -> list[str]:
        """Names of the events that occur, sorted."""
        return sorted({each.event for found in self.recordings.values() for each in found if each.event})


def parse_mapping(pairs: Collection[str], events: Collection[str]) -> dict[str, str]:
    """Read `label=event` pairs as they are typed; raises ConfigError."""
    mapping = {}
    for pair in pairs:
        label, separator, event = pair.partition("=")
        if not separator or not label:
            raise ConfigError(f"--map {pair!r}: write it as LABEL=EVENT")
        if event not in events:
            known = ", ".join(sorted(events))
            raise ConfigError(
                f"--map {pair!r}: {event!r} is not an event of the configuration; it has {known}"
            )
        mapping[label] = event
    return mapping


def read_manifest(path: Path, events: Collection[str], mapping: Mapping[str, str] | None = None) -> Manifest:
    """Read a CSV (or .tsv) with columns path, label and, but for whole clips, onset and offset in seconds.

    Paths are relative to the manifest. A label is the event whose plain name it has, or what `mapping`
    says, or a column `event`. A row without a label is a recording, or part of one, without labelled sounds.
    Raises ConfigError with a line for every bad row.
    """
    known = frozenset(events)
    spelled: dict[str, Path] = {}
    recordings: dict[Path, list[Occurrence]] = {}
    unknown: Counter[str] = Counter()
    findings: list[str] = []
    first = {False: "", True: ""}
    for where, row in _rows(path):
        try:
            file, label, occurrence = _parse(row, path.parent, known, mapping or {})
        except ValueError as error:
            findings.append(f"{where}: {error}")
            continue
        # However a file's name is written, it is one recording.
        found = recordings.setdefault(spelled.setdefault(os.path.realpath(file), file), [])
        if occurrence is None:
            continue
        first[math.isinf(occurrence.offset)] = first[math.isinf(occurrence.offset)] or where
        unknown.update([label] if occurrence.event is None else [])
        found.append(replace(occurrence, where=where))
    refuse_rows(path, findings)
    if not recordings:
        raise ConfigError(f"{path}: names no recording; add rows of path,label,onset,offset")
    if first[True] and first[False]:
        raise ConfigError(
            f"{first[True]}: has no onset and offset, but {first[False]} has; "
            "split clips and labelled stretches into two manifests"
        )
    if unknown and not any(each.event for found in recordings.values() for each in found):
        labels = one_line(", ".join(label[:60] for label in sorted(unknown)[:5]))
        raise ConfigError(
            f"{path}: none of its labels ({labels}{', ...' if len(unknown) > 5 else ''}) is an event of the "
            "configuration; name the events so, or give --map LABEL=EVENT"
        )
    return Manifest(
        path,
        {file: tuple(sorted(found, key=lambda each: each.onset)) for file, found in recordings.items()},
        whole=bool(first[True]),
        unknown_labels=dict(sorted(unknown.items())),
    )


def refuse_rows(path: Path, findings: Sequence[str]) -> None:
    """Raise a ConfigError with the first of these lines, if there are any."""
    if findings:
        more = len(findings) - _MAX_FINDINGS
        rest = [f"{path}: and {more} more rows that can't be used"] if more > 0 else []
        raise ConfigError(*findings[:_MAX_FINDINGS], *rest)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every row with the place to name in an error."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            for name in _REQUIRED:
                if name not in columns:
                    raise ConfigError(f"{path}:1: has no column {name!r}; start with path,label,onset,offset")
            # Times that aren't found would make whole clips of labelled stretches, without a word.
            strange = [name for name in columns if name not in _TIMES and name.lower() in _LIKE_TIMES]
            if strange and not set(_TIMES) <= set(columns):
                raise ConfigError(f"{path}:1: name the times onset and offset, not {', '.join(strange)}")
            reader.fieldnames = columns
            for row in reader:
                if None in row:
                    says = "has more fields than the first line names; put quotes round a comma"
                    raise ConfigError(f"{path}:{reader.line_num}: {says}")
                yield (
                    f"{path}:{reader.line_num}",
                    {key: (value or "").strip() for key, value in row.items() if key is not None},
                )
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {in_words(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: isn't UTF-8; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num + 1}: is not CSV: {one_line(str(error))}") from None


def _parse(
    row: Mapping[str, str], folder: Path, events: Collection[str], mapping: Mapping[str, str]
) -> tuple[Path, str, Occurrence | None]:
    """Return file, label and what sounds; raises ValueError with what is wrong."""
    if not row["path"]:
        msg = "path is empty"
        raise ValueError(msg)
    file = folder / row["path"]
    if not os.path.isfile(file):  # noqa: PTH113 - unlike pathlib's, false for names too long as well
        msg = f"path {row['path']!r} is no file in {str(folder)!r}"
        raise ValueError(msg)
    label = row["label"]
    onset, offset = _times(row)
    named = row.get("event", "")
    if not label and not named:
        return file, label, None
    if named and named not in events:
        msg = f"event {named!r} is not in the configuration"
        raise ValueError(msg)
    event = named or mapping.get(label) or plain_name(label)
    return file, label or named, Occurrence(event if event in events else None, onset, offset)


def _times(row: Mapping[str, str]) -> tuple[float, float]:
    texts = {name: row.get(name, "") for name in ("onset", "offset")}
    if not any(texts.values()):
        return 0.0, math.inf
    times = []
    for name, text in texts.items():
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0.0 <= seconds < math.inf:
            msg = f"{name} {text!r} is not a number of seconds from 0"
            raise ValueError(msg)
        times.append(seconds)
    onset, offset = times
    if offset <= onset:
        msg = f"offset {texts['offset']} is not after onset {texts['onset']}"
        raise ValueError(msg)
    return onset, offset
