"""What the daemon is doing now, as plain values: for the page, `/status.json` and the tests."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any

from monitor.types import Activity, Event

SILENCE_DBFS = -120.0
"""What digital silence is shown as: minus infinity is neither JSON nor of use in a graph."""
RECENT_EVENTS = 100
"""How many starts and ends a status carries."""


class SourceState(StrEnum):
    """Whether a source delivers sound."""

    ONLINE = "online"
    OFFLINE = "offline"
    """Not open: absent, lost or being retried."""
    PROBLEM = "problem"
    """Open, but what it delivers can't be sound of a room, such as exact zeros."""


class DropReason(StrEnum):
    """Why a window that was cut never got a score."""

    SUPERSEDED = "superseded"
    """A newer window of the source took its place: scoring is slower than the sound comes."""


class RestartReason(StrEnum):
    """Why a source had to be opened again."""

    OPEN_FAILED = "open_failed"
    """It couldn't be opened: absent, busy or refused."""
    LOST = "lost"
    """It was open and failed or went quiet, such as an unplugged microphone."""


class ClipOutcome(StrEnum):
    """What became of an event's recording."""

    WRITTEN = "written"
    VETOED = "vetoed"
    """It held what `privacy.veto` names."""
    UNJUDGED = "unjudged"
    """`privacy.veto` could not judge all of it: a window was dropped, sound was lost, detection was off."""
    FAILED = "failed"
    """The disk refused it, or was too slow."""


class HookOutcome(StrEnum):
    """What became of one attempt to tell a webhook or a command."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It is tried again."""
    GIVEN_UP = "given_up"
    """The receiver refuses the event, or the command has failed."""


@dataclass(frozen=True, slots=True)
class EncoderStatus:
    """The model in use."""

    identity: str
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source and what became of its sound."""

    name: str
    state: SourceState
    problem: str | None = None
    """One line for the user; None while all is well."""
    enabled: bool = True
    """The position of its switch; while it is off, it is open but nothing is detected."""
    last_audio_at: float | None = None
    """Unix seconds; None before the first."""
    last_score_at: float | None = None
    level_dbfs: float | None = None
    """See `floor_dbfs`; None before the first audio."""
    overflows: int = 0
    restarts: int = 0
    windows_scored: int = 0
    windows_dropped: Mapping[DropReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventRule:
    """The rule in force for one event."""

    name: str
    on_threshold: float
    off_threshold: float
    meaning: tuple[str, ...]
    """The rule in words and seconds, as `sound-monitor check` prints it: its beginning, its end, ..."""
    is_level: bool = False
    """Its scores are levels: see `levels.py`."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """Events that the broker hasn't acknowledged."""

    pending: int = 0
    oldest_at: float | None = None
    """Unix seconds; None while there are none."""


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """The last reading of the configuration file."""

    ok: bool
    at: float
    """Unix seconds."""
    problem: str | None = None
    """Why the old configuration is still in force."""


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the whole daemon; all times are Unix seconds."""

    at: float
    """When it was taken."""
    version: str
    started_at: float
    encoder: EncoderStatus | None
    """None while the model loads."""
    windows: str
    """How the sound is cut, in words and seconds."""
    sources: tuple[SourceStatus, ...]
    events: tuple[EventRule, ...]
    activities: tuple[Activity, ...]
    """One for each source and event that is listened for there."""
    recent: tuple[Event, ...]
    """The last starts and ends, newest first, `RECENT_EVENTS` at most."""
    mqtt_connected: bool | None
    """None where MQTT is turned off."""
    outbox: OutboxStatus
    reload: ReloadStatus
    stored: tuple[str, ...] = ()
    """What of the sound and the events is kept and where, in words."""
    searchable: bool = False
    """Whether there is a history to search."""
    clips_served: bool = False
    """Whether `/clips/` plays the recordings of events."""


def floor_dbfs(level_dbfs: float) -> float:
    """Return a level that can be shown: silence, or no number at all, is `SILENCE_DBFS`."""
    return max(level_dbfs, SILENCE_DBFS) if math.isfinite(level_dbfs) else SILENCE_DBFS


def to_json(value: object) -> str:
    """Render a status, or a part of it, as strict JSON in ASCII: numbers to four places, NaN as null."""
    return json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    kind: Any = type(value)  # a dataclass: what isn't raises TypeError
    return {name: _plain(getattr(value, name)) for name in _field_names(kind)}


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))
