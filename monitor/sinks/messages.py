"""What is published: topics and payloads, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from monitor.status import SourceStatus
from monitor.types import Event, Phase

ON, OFF = b"ON", b"OFF"
ONLINE, OFFLINE = b"online", b"offline"
_SILENCE_DBFS = -120.0


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below a prefix; sources and events are slugs, so that no name can reach another's topic."""

    prefix: str

    @property
    def status(self) -> str:
        """Return where `online` or `offline` tells whether the monitor is connected."""
        return f"{self.prefix}/status"

    def source_status(self, source: str) -> str:
        """Return where `online` or `offline` tells whether a source delivers sound."""
        return f"{self.prefix}/{source}/status"

    def event(self, source: str) -> str:
        """Return where the starts and ends of a source's events are told."""
        return f"{self.prefix}/{source}/event"

    def level(self, source: str) -> str:
        """Return where a source's level is told, a number in dBFS."""
        return f"{self.prefix}/{source}/level_dbfs"

    def diagnostics(self, source: str) -> str:
        """Return where a source's problem and its counters are told."""
        return f"{self.prefix}/{source}/diagnostics"

    def enabled(self, source: str, event: str | None = None) -> str:
        """Return where the position of a switch is told, `ON` or `OFF`."""
        return f"{self._below(source, event)}/enabled"

    def command(self, source: str, event: str | None = None) -> str:
        """Return where `ON` and `OFF` turn a switch."""
        return f"{self._below(source, event)}/set"

    def retained(self, switches: Iterable[tuple[str, str | None]]) -> Iterator[str]:
        """Yield all that the broker is to hold about sources (their event is None) and events on them."""
        yield self.status
        for source, event in switches:
            yield self.enabled(source, event)
            if event is None:
                yield self.source_status(source)
                yield self.diagnostics(source)
            else:
                yield self.state(source, event)
                yield self.attributes(source, event)

    def state(self, source: str, event: str) -> str:
        """Return where `ON` or `OFF` tells whether an event lasts."""
        return f"{self.prefix}/{source}/{event}/state"

    def attributes(self, source: str, event: str) -> str:
        """Return where the facts about an event's last start or end are told."""
        return f"{self.prefix}/{source}/{event}/attributes"

    def score(self, source: str, event: str) -> str:
        """Return where an event's smoothed score is told, a number."""
        return f"{self.prefix}/{source}/{event}/score"

    def _below(self, source: str, event: str | None) -> str:
        return f"{self.prefix}/{source}" + ("" if event is None else f"/{event}")


def event_fields(event: Event) -> dict[str, str | float | None]:
    """Return an event as it is told to others; times are Unix seconds."""
    ended_at = event.ended_at
    return {
        "id": event.id,
        "source": event.source,
        "event": event.name,
        "phase": event.phase.value,
        "score": round(event.peak_score, 4),
        "threshold": event.threshold,
        "started_at": round(event.started_at, 3),
        "ended_at": None if ended_at is None else round(ended_at, 3),
        "duration_seconds": None if ended_at is None else round(ended_at - event.started_at, 3),
        "reason": event.reason.value,
        "clip": event.clip,
    }


def event_payload(event: Event) -> bytes:
    """Return the message of a start or an end."""
    return to_json(event_fields(event))


def state_payload(event: Event) -> bytes:
    """Return the state that a start or an end leads to."""
    return ON if event.phase is Phase.START else OFF


def attributes_payload(event: Event) -> bytes:
    """Return what goes with the state: the facts without those that the topic tells."""
    fields = event_fields(event)
    return to_json({name: fields[name] for name in fields if name not in {"source", "event", "phase"}})


def diagnostics_payload(source: SourceStatus) -> bytes:
    """Return a source's problem and its counters since the daemon's start."""
    return to_json(
        {
            "problem": source.problem,
            "windows_dropped": sum(source.windows_dropped.values()),
            "overflows": source.overflows,
            "restarts": source.restarts,
        }
    )


def score_payload(score: float) -> bytes:
    """Return a number alone, 0..1."""
    return f"{score:.4f}".encode()


def level_payload(level_dbfs: float) -> bytes:
    """Return a number alone; digital silence is -120."""
    return f"{max(level_dbfs, _SILENCE_DBFS):.1f}".encode()


def to_json(fields: Mapping[str, object]) -> bytes:
    """Return compact JSON; NaN and infinities, which JSON doesn't have, raise ValueError."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
