"""`sound-monitor listen`: what the monitor thinks it hears, live in the terminal."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from rich.console import Console, ConsoleOptions, Group, OverflowMethod, RenderResult
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

_BAR_CELLS, _LEAST_BAR_CELLS = 30, 14
_WORDS_CELLS, _FEW_WORDS_CELLS, _LEAST_WORDS_CELLS = 36, 20, 12
_SCORE_CELLS, _RAW_CELLS, _MARGIN_CELLS = len("score"), len("0.00"), len("heard +0.00")
_GAP = 2
_INK, _ASCII_INK = "█·", "#."
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
        self.stopped = False

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

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        layout = Layout.within(options.max_width, max(map(len, self._config.events)))
        ink = _ASCII_INK if options.ascii_only else _INK
        for name in self._config.sources:
            yield self._heading(name, options.max_width, ink)
            yield self._table(name, layout, ink)
        yield from map(Text, self._events)

    def _heading(self, name: str, width: int, ink: str) -> Text:
        if self._online[name]:
            level = self._levels[name]
            heading = f"{name}   {level:6.1f} dBFS  "
            share = (level - _QUIET_DBFS) / (_LOUD_DBFS - _QUIET_DBFS)
            heading += bar(share, None, min(_BAR_CELLS, width - len(heading)), ink)
        else:
            heading = f"{name}   {'stopped' if self.stopped else 'waiting for sound'}"
        return Text(heading, "table.title")

    def _table(self, name: str, layout: Layout, ink: str) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("event", overflow="fold")
        if layout.bar:
            table.add_column("smoothed, | is the threshold", width=layout.bar)
        table.add_column("score", justify="right", no_wrap=True)
        if layout.raw:
            table.add_column("raw", justify="right", no_wrap=True)
        table.add_column("margin", justify="right", no_wrap=True, min_width=_MARGIN_CELLS)
        if layout.words:
            overflow: OverflowMethod = "crop" if ink == _ASCII_INK else "ellipsis"
            table.add_column("most like", no_wrap=True, overflow=overflow, max_width=layout.words)
        embedding = self._embeddings.get(name)
        words = self._nearest.of(embedding) if embedding is not None else ("",) * len(self._config.events)
        likest = dict(zip(self._config.events, words, strict=True))
        for activity in self._activities.get(name, ()):
            on = self._config.events[activity.event].on_threshold
            cells = [
                activity.event,
                bar(activity.smooth, on, layout.bar, ink) if layout.bar else None,
                f"{activity.smooth:.2f}",
                f"{activity.raw:.2f}" if layout.raw else None,
                f"{'heard ' if activity.active else ''}{activity.smooth - on:+.2f}",
                Text(likest[activity.event]) if layout.words else None,
            ]
            style = "bold green" if activity.active else ""
            table.add_row(*(cell for cell in cells if cell is not None), style=style)
        return table


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide the columns are that a narrow terminal does without; 0 where there is no room for one."""

    bar: int
    raw: int
    words: int

    @classmethod
    def within(cls, width: int, name: int) -> Layout:
        """Share out what a name of that length, score and margin leave: to raw scores, bars, then words."""
        room = width - name - (_GAP + _SCORE_CELLS) - (_GAP + _MARGIN_CELLS)
        raw = _RAW_CELLS if room >= _GAP + _RAW_CELLS else 0
        room -= _GAP + raw
        bar = 0
        if room >= _GAP + _LEAST_BAR_CELLS:
            bar = min(_BAR_CELLS, max(_LEAST_BAR_CELLS, room - _GAP - _GAP - _FEW_WORDS_CELLS))
        room -= _GAP + bar
        words = min(_WORDS_CELLS, room - _GAP) if bar and room >= _GAP + _LEAST_WORDS_CELLS else 0
        return cls(bar, raw, words)


class Changes(Outlet):
    """A line when a source comes or goes and when an event begins or ends, where nothing can be redrawn."""

    def __init__(self) -> None:
        self._online: dict[str, bool] = {}

    async def deliver(self, event: Event) -> None:
        """Print that it began or ended."""
        print(describe(event), flush=True)  # noqa: T201

    def source_changed(self, source: str, online: bool) -> None:
        """Print a change; every failed attempt to open a source comes here too."""
        if self._online.get(source) is not online:
            self._online[source] = online
            print(f"{_clock(time.time())} {source}: {'online' if online else 'offline'}", flush=True)  # noqa: T201


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


def bar(share: float, mark: float | None, width: int, ink: str) -> str:
    """Draw 0..1 as a bar, with a mark where the threshold is."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    cells = list(ink[0] * filled + ink[1] * (width - filled))
    if mark is not None:
        cells[min(int(mark * width), width - 1)] = "|"
    return "".join(cells)


def describe(event: Event) -> str:
    """Tell an event in a line, for people."""
    at = event.started_at if event.phase is Phase.START else event.ended_at or event.started_at
    if event.phase is Phase.START:
        detail = f"began (score {event.peak_score:.2f}, threshold {event.threshold:.2f})"
    else:
        detail = f"ended after {at - event.started_at:.1f} s (peak {event.peak_score:.2f}, {event.reason})"
    return f"{_clock(at)} {event.source}: {event.name} {detail}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


async def listen(config: Config, *, as_json: bool = False) -> None:
    """Show until interrupted, or until every source has ended."""
    config = config.model_copy(update={"clips": None})  # none are written, so no veto needs to hear all
    scorer = Scorer()
    prepared = await scorer.prepare(config)
    scorer.use(prepared)
    nearest = Nearest.build(config, prepared.texts, prepared.head)
    console = Console()
    outlet: Outlet = Changes()
    shown: AbstractContextManager[None] = nullcontext()
    if as_json:
        outlet = Lines(config, nearest)
    elif console.is_interactive:
        outlet = screen = Screen(config, nearest)
        shown = _shown(screen, console)
    pipeline = Pipeline(config, scorer, outlet, Metrics(CollectorRegistry(), config))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, pipeline.stop)
    try:
        with shown:
            await pipeline.run()
    finally:
        scorer.close()


@contextmanager
def _shown(screen: Screen, console: Console) -> Iterator[None]:
    with Live(console=console, refresh_per_second=8, get_renderable=lambda: Group(screen)):
        try:
            yield
        finally:
            screen.stopped = True
