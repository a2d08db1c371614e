"""The starts and ends told while a segment was written, a line of JSON each beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append_event(path: Path, event: Mapping[str, Any]) -> int:
    """Note a start or an end; return the bytes that it took."""
    line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
    with path.open("ab", buffering=0) as file:
        file.write(line)
    return len(line)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return what was noted, but for a torn or erased line; nothing where the file is missing."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(_event, lines) if event is not None]


def erase_events(path: Path, before: float) -> None:
    """Overwrite with spaces, in place, what started before a time (Unix seconds)."""
    try:
        with path.open("r+b", buffering=0) as file:
            offset = 0
            for line in file.read().splitlines(keepends=True):
                event = _event(line)
                if event is not None and event["started_at"] < before:
                    os.pwrite(file.fileno(), b" " * (len(line) - 1), offset)
                offset += len(line)
            os.fsync(file.fileno())
    except FileNotFoundError:
        return


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("started_at"), int | float) else None
