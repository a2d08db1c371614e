"""`sound-monitor listen`: what the monitor thinks it hears, live in the terminal."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from prometheus_client import CollectorRegistry
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.config import Config
from monitor.metrics import Metrics
from monitor.nearest import Nearest
from monitor.pipeline import Outlet, Pipeline
from monitor.scoring import Scorer
from monitor.sinks.messages import event_fields
from monitor.types import Activity, Event, FloatArray, Phase, Scores, Window

_BAR_CELLS = 30
_WORDS_CELLS = 36
_QUIET_DBFS, _LOUD_DBFS = -80.0, 0.0


class Screen(Outlet):
    """The latest of every source, drawn on demand: an outlet that keeps nothing else."""

    def __init__(self, config: Config, nearest: Nearest) -> None:
        self._config = config
        self._nearest = nearest
        self._embeddings: dict[str, FloatArray] = {}
        self._levels = dict.fromkeys(config.sources, -math.inf)
        self._online = dict.fromkeys(config.sources, False)
        self._activities: dict[str, Sequence[Activity]] = {}
        self._events: deque[str] = deque(maxlen=8)

    async def deliver(self, event: Event) -> None:
        """Show it among the last events."""
        self._events.append(describe(event))

    def source_changed(self, source: str, online: bool) -> None:
        """Show whether the source is there."""
        self._online[source] = online

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        """Keep the newest sound, to tell what it is most like."""
        self._embeddings.update(zip((window.source for window in windows), embeddings, strict=True))

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Show the newest scores."""
        self._levels[scores.source] = scores.level_dbfs
        self._activities[scores.source] = activities

    def __rich__(self) -> Group:
        return Group(*(self._source(name) for name in self._config.sources), *map(Text, self._events))

    def _source(self, name: str) -> Table:
        level = self._levels[name]
        share = (level - _QUIET_DBFS) / (_LOUD_DBFS - _QUIET_DBFS)
        heard = f"{level:6.1f} dBFS  {bar(share, None)}" if self._online[name] else "waiting for sound"
        table = Table(title=f"{name}   {heard}", title_justify="left", box=None, pad_edge=False)
        table.add_column("event")
        table.add_column("smoothed, | is the threshold")
        for column in ("score", "raw", "margin"):
            table.add_column(column, justify="right")
        table.add_column("most like", no_wrap=True, overflow="ellipsis", max_width=_WORDS_CELLS)
        embedding = self._embeddings.get(name)
        words = self._nearest.of(embedding) if embedding is not None else ("",) * len(self._config.events)
        likest = dict(zip(self._config.events, words, strict=True))
        for activity in self._activities.get(name, ()):
            on = self._config.events[activity.event].on_threshold
            table.add_row(
                activity.event,
                bar(activity.smooth, on),
                f"{activity.smooth:.2f}",
                f"{activity.raw:.2f}",
                f"{'heard ' if activity.active else ''}{activity.smooth - on:+.2f}",
                Text(likest[activity.event]),
                style="bold green" if activity.active else "",
            )
        return table


class Lines(Outlet):
    """A JSON object for each window, event and change of a source, for scripts: an outlet that prints."""

    def __init__(self, config: Config, nearest: Nearest) -> None:
        self._config = config
        self._nearest = nearest
        self._embeddings: dict[str, FloatArray] = {}
        self._online: dict[str, bool] = {}

    async def deliver(self, event: Event) -> None:
        """Print what an outlet would be told."""
        _print({"source": event.source, "event": event_fields(event)})

    def source_changed(self, source: str, online: bool) -> None:
        """Print a change; every failed attempt to open a source comes here too."""
        if self._online.get(source) is online:
            return
        self._online[source] = online
        _print({"source": source, "online": online})

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        """Keep the newest sound, to tell what it is most like."""
        self._embeddings.update(zip((window.source for window in windows), embeddings, strict=True))

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Print the newest scores."""
        embedding = self._embeddings.pop(scores.source, None)
        words = self._nearest.of(embedding) if embedding is not None else ("",) * len(self._config.events)
        likest = dict(zip(self._config.events, words, strict=True))
        told = {
            each.event: {
                "score": round(each.smooth, 4),
                "raw": round(each.raw, 4),
                "threshold": self._config.events[each.event].on_threshold,
                "active": each.active,
                "most_like": likest[each.event] or None,
            }
            for each in activities
        }
        level = round(scores.level_dbfs, 2) if math.isfinite(scores.level_dbfs) else None
        _print({"source": scores.source, "time": scores.end_time, "level_dbfs": level, "scores": told})


def _print(fields: Mapping[str, object]) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201


def bar(share: float, mark: float | None) -> str:
    """Draw 0..1 as a bar, with a mark where the threshold is."""
    filled = round(min(max(share, 0.0), 1.0) * _BAR_CELLS)
    cells = list("█" * filled + "·" * (_BAR_CELLS - filled))
    if mark is not None:
        cells[min(int(mark * _BAR_CELLS), _BAR_CELLS - 1)] = "|"
    return "".join(cells)


def describe(event: Event) -> str:
    """Tell an event in a line, for people."""
    at = event.started_at if event.phase is Phase.START else event.ended_at or event.started_at
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    if event.phase is Phase.START:
        detail = f"began (score {event.peak_score:.2f}, threshold {event.threshold:.2f})"
    else:
        detail = f"ended after {at - event.started_at:.1f} s (peak {event.peak_score:.2f}, {event.reason})"
    return f"{clock} {event.source}: {event.name} {detail}"


async def listen(config: Config, *, as_json: bool = False) -> None:
    """Show until interrupted, or until every source has ended."""
    config = config.model_copy(update={"clips": None})  # none are written, so no veto needs to hear all
    scorer = Scorer()
    prepared = await scorer.prepare(config)
    scorer.use(prepared)
    nearest = Nearest.build(config, prepared.texts, prepared.head)
    outlet = Lines(config, nearest) if as_json else Screen(config, nearest)
    pipeline = Pipeline(config, scorer, outlet, Metrics(CollectorRegistry(), config))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, pipeline.stop)
    try:
        with _shown(outlet):
            await pipeline.run()
    finally:
        scorer.close()


def _shown(outlet: Screen | Lines) -> AbstractContextManager[object]:
    if isinstance(outlet, Lines):
        return nullcontext()
    return Live(outlet, console=Console(), refresh_per_second=8, get_renderable=lambda: Group(outlet))
