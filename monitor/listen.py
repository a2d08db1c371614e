"""`sound-monitor listen`: what the monitor thinks it hears, live in the terminal."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections import deque
from collections.abc import Sequence

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


async def listen(config: Config) -> None:
    """Show until interrupted, or until every source has ended."""
    scorer = Scorer()
    prepared = await scorer.prepare(config)
    scorer.use(prepared)
    screen = Screen(config, Nearest.build(config, prepared.texts, prepared.head))
    pipeline = Pipeline(config, scorer, screen, Metrics(CollectorRegistry(), config))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, pipeline.stop)
    try:
        with Live(screen, console=Console(), refresh_per_second=8, get_renderable=lambda: Group(screen)):
            await pipeline.run()
    finally:
        scorer.close()
