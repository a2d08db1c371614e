"""A query put to an archive, the way both the command and the page do it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from monitor.config import Config
from monitor.directories import history_directory
from monitor.history.folder import Folder
from monitor.history.segment import Segment
from monitor.past.query import Query, embed_query
from monitor.past.search import Found, search, with_events
from monitor.scoring import Scorer

_LONGEST_EVENT_SECONDS = 86_400.0


class Archive(Protocol):
    """Where segments are: `history.folder.Folder`, or an `Index` of recordings."""

    def segments(self, since: float, until: float, sources: Collection[str] | None) -> Iterator[Segment]: ...

    def events(self, since: float, until: float, sources: Collection[str] | None) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What is searched, and how much of it is told."""

    since: float = -math.inf
    """Unix seconds."""
    until: float = math.inf
    sources: Collection[str] | None = None
    """None: all."""
    top: int = 20
    min_gap_seconds: float = 10.0


async def ask(
    query: Query,
    config: Config,
    scorer: Scorer,
    archive: Archive,
    scope: Scope,
    *,
    clips: Path | None = None,
    advance: Callable[[Segment], None] = lambda _: None,
) -> Found:
    """Find the best moments; the model's thread embeds the query, another thread reads and compares.

    `config` gives the encoder and the background, `clips` the folder that recordings lie in. Raises
    EncoderError, SourceError for an example that can't be used, and HistoryError.
    """
    question = await embed_query(query, config, scorer)

    def answer() -> Found:
        segments = archive.segments(scope.since, scope.until, scope.sources)
        found = search(
            segments,
            question,
            top=scope.top,
            min_gap_seconds=scope.min_gap_seconds,
            since=scope.since,
            until=scope.until,
            advance=advance,
        )
        began = [moment.start_time for moment in found.moments]
        told = archive.events(min(began) - _LONGEST_EVENT_SECONDS, math.inf, scope.sources) if began else []
        return with_events(found, told, clips)

    return await asyncio.to_thread(answer)


async def ask_history(words: str, since: float, config: Config, scorer: Scorer) -> dict[str, object]:
    """Find the moments of the daemon's own history that sound like some words: what the page shows."""
    clips = config.clips.directory if config.clips else None
    folder = Folder(history_directory(config))
    found = await ask(Query([words]), config, scorer, folder, Scope(since=since), clips=clips)
    return {"moments": found.moments, "hours": found.hours, "foreign": found.foreign}
