"""The whole path from sources to events, wired: listeners, one batcher, one scorer, a detector per source."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import partial

import numpy as np

from monitor import sources
from monitor.batching import Batcher
from monitor.config import Config
from monitor.detection import Detector
from monitor.errors import MonitorError
from monitor.listening import Listener, OpenSource, cancel
from monitor.metrics import Metrics
from monitor.scoring import Prepared, Scorer
from monitor.sources.sharing import Captures
from monitor.status import RECENT_EVENTS, SourceStatus
from monitor.stillness import change_gates
from monitor.switches import NOTHING_OFF, Switches
from monitor.types import Activity, AudioBlock, Event, FloatArray, Reason, Scores, Window


class Outlet:
    """Where a pipeline's results go; overrides what it cares for. Nothing here may block the event loop."""

    def named(self, event: Event) -> Event:
        """Return an event with what the outlet knows of it, before it is delivered to anyone."""
        return event

    async def deliver(self, event: Event) -> None:
        """Take over an event; when this returns it is in safe hands."""

    def source_changed(self, source: str, online: bool) -> None:
        """Hear that a source delivers now, or no longer."""

    def heard(self, block: AudioBlock) -> None:
        """Get every block of sound, at the encoder's rate; its samples are read-only."""

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        """Get the windows of a batch with their embeddings, shape (len(windows), D).

        Before they are decided on; a window below the level gate has a row of zeros.
        """

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """See one window's scores; `values` are aligned to the configured events."""

    async def switched(self, switches: Switches) -> None:
        """Hear what is switched off now; also at the beginning."""

    def configure(self, config: Config) -> None:
        """Go over to another configuration."""


class _Step(Enum):
    """What is done with a window."""

    EMBED = auto()
    REUSE = auto()
    """The source's last result stands for it."""
    SKIP = auto()
    """It is below the level gate and scores 0."""


class Pipeline:
    """Runs until every source has ended of itself or `stop` is called.

    lossless: every window is scored, however long it takes, and a source that fails ends the run (replay);
    else the newest window wins, and the source is opened again (live).
    """

    def __init__(
        self,
        config: Config,
        scorer: Scorer,
        outlet: Outlet,
        metrics: Metrics,
        *,
        switches: Switches = NOTHING_OFF,
        lossless: bool = False,
        open_source: OpenSource | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.config = config
        self._scorer = scorer
        self._outlet = outlet
        self._metrics = metrics
        self.switches = switches.within(config)
        self._lossless = lossless
        self._open_source = open_source or partial(sources.open_source, captures=Captures())
        self._clock = clock
        self._new_id = new_id
        self._batcher = Batcher(config.encoder.max_batch)
        self._listeners: dict[str, Listener] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._detectors = {name: self._detector(name) for name in config.sources}
        self._gates = change_gates(config)
        self._last: dict[str, tuple[FloatArray, FloatArray]] = {}
        self._ended = asyncio.Event()
        # A reload must not change events and detectors while a batch is between the two.
        self._swapping = asyncio.Lock()
        # The end must not come between a reload's stopping of sources and its starting of others.
        self._reloading = asyncio.Lock()
        self.recent: deque[Event] = deque(maxlen=RECENT_EVENTS)

    async def run(self) -> None:
        """Listen, score and deliver; the scorer must have its model."""
        async with asyncio.TaskGroup() as group:
            scoring = group.create_task(self._score_forever(), name="scoring")
            self._group = group
            await self._tell_switches()
            for name in self.config.sources:
                self._start(name)
            await self._ended.wait()
            async with self._reloading:
                await self._silence(list(self._tasks), Reason.SHUTDOWN)
            scoring.cancel()

    def stop(self) -> None:
        """Let `run` end in order: sources closed, the last windows scored, active events ended."""
        self._ended.set()

    async def enable(self, source: str, event: str | None, on: bool) -> None:
        """Switch the detection of one event on a source, or with None of all of them, on or off.

        An occurrence that lasts is ended. Raises MonitorError for what isn't listened for.
        """
        async with self._swapping:
            if (source, event) not in self.config.switches():
                what = source if event is None else f"{event} on {source}"
                raise MonitorError(f"{what} isn't listened for and can't be switched")
            switches = self.switches.turned(source, event, on)
            if switches == self.switches:
                return
            self.switches = switches
            detector = self._detectors[source]
            await self._deliver_all(detector.switch(switches))
            for activity in detector.activities():
                self._metrics.activity(activity)
            await self._tell_switches()

    async def _tell_switches(self) -> None:
        for source, event in self.config.switches():
            if event is not None:
                self._metrics.enabled(source, event, self.switches.detects(source, event))
        await self._outlet.switched(self.switches)

    def _detector(self, name: str) -> Detector:
        detector = Detector(name, self.config, self._new_id)
        detector.switch(self.switches)
        return detector

    def _start(self, name: str) -> None:
        listener = Listener(
            name,
            self.config.sources[name],
            self.config.windows,
            self._scorer.encoder.rate_hz,
            self._batcher,
            self._metrics,
            open_source=self._open_source,
            lossless=self._lossless,
            changed=self._source_changed,
            heard=self._outlet.heard,
        )
        self._listeners[name] = listener
        self._tasks[name] = self._group.create_task(self._listen(listener), name=f"source {name}")

    async def _listen(self, listener: Listener) -> None:
        await listener.run()
        ended_of_itself = self._tasks.pop(listener.name, None) is not None
        if ended_of_itself:
            self._end_with_the_last_source()

    def _end_with_the_last_source(self) -> None:
        if not self._tasks and not self._reloading.locked():
            self._ended.set()

    async def _source_changed(self, name: str, online: bool) -> None:
        if not online:
            await self._batcher.drain(name)
            if name in self._gates:
                self._gates[name].forget()
            async with self._swapping:
                # A window that was filled up with silence ends later than the sound.
                until = self._listeners[name].last_audio_at
                await self._deliver_all(self._detectors[name].end_all(until, Reason.SOURCE_LOST))
        self._outlet.source_changed(name, online)

    async def _silence(self, names: Sequence[str], reason: Reason) -> None:
        """Stop listening to some sources, score what they have delivered, and end their events."""
        await asyncio.gather(*(cancel(self._tasks.pop(name)) for name in names))
        for name in names:
            await self._batcher.drain(name)
            await self._deliver_all(self._detectors[name].end_all(None, reason))
            self._outlet.source_changed(name, False)

    async def _score_forever(self) -> None:
        while True:
            batch = await self._batcher.take()
            async with self._swapping:
                await self._score(batch)
            await self._batcher.done()

    async def _score(self, batch: Sequence[Window]) -> None:
        heard = [window for window in batch if window.source in self._detectors]
        steps = [self._step(window) for window in heard]
        fresh = [window for window, step in zip(heard, steps, strict=True) if step is _Step.EMBED]
        began = time.perf_counter()
        scored = await self._scorer.score(fresh)
        if fresh:
            self._metrics.batch(len(fresh), time.perf_counter() - began)
        results = iter(zip(scored.values, scored.embeddings, strict=True))
        nothing = (
            np.zeros_like(scored.values, shape=len(self.config.events)),
            np.zeros_like(scored.embeddings, shape=scored.embeddings.shape[1]),
        )
        rows = []
        for window, step in zip(heard, steps, strict=True):
            if step is _Step.EMBED:
                self._last[window.source] = next(results)
            rows.append(nothing if step is _Step.SKIP else self._last[window.source])
        if heard:
            self._outlet.embedded(heard, np.stack([embedding for _, embedding in rows]))
        for window, (values, _) in zip(heard, rows, strict=True):
            scores = Scores(window.source, window.start_time, window.end_time, window.level_dbfs, values)
            await self._decide(scores)

    def _step(self, window: Window) -> _Step:
        gate = self._gates.get(window.source)
        if window.level_dbfs < self._detectors[window.source].quietest_dbfs:
            if gate is not None:
                gate.forget()
            return _Step.SKIP
        if gate is None or gate.moved(window):
            return _Step.EMBED
        self._metrics.window_reused(window.source)
        return _Step.REUSE

    async def _decide(self, scores: Scores) -> None:
        detector = self._detectors[scores.source]
        events = detector.process(scores)
        activities = detector.activities()
        self._listeners[scores.source].scored(scores.end_time)
        for activity in activities:
            self._metrics.activity(activity)
        self._outlet.scored(scores, activities)
        await self._deliver_all(events)
        if not self._lossless:
            self._metrics.latency(max(self._clock() - scores.end_time, 0.0))

    async def _deliver_all(self, events: Sequence[Event]) -> None:
        """Deliver, and be cancelled only afterwards: the detector has gone on, nobody would do it again."""
        if not events:
            return
        delivering = asyncio.create_task(self._deliver(events), name="delivery")
        try:
            await asyncio.shield(delivering)
        except asyncio.CancelledError:
            await asyncio.wait([delivering])
            raise

    async def _deliver(self, events: Sequence[Event]) -> None:
        for decided in events:
            event = self._outlet.named(decided)
            await self._outlet.deliver(event)
            self._metrics.event(event)
            self.recent.appendleft(event)

    async def apply(self, config: Config) -> None:
        """Go over to another configuration without a pause for what hasn't changed.

        Raises EncoderError before anything is changed.
        """
        prepared = await self._scorer.prepare(config)
        async with self._reloading:
            if not self._ended.is_set():
                await self._go_over(config, prepared)
        self._end_with_the_last_source()

    async def _go_over(self, config: Config, prepared: Prepared) -> None:
        rate_hz, old = self._scorer.encoder.rate_hz, self.config
        cut_anew = config.windows != old.windows or prepared.encoder.rate_hz != rate_hz
        stale = [name for name in self._tasks if cut_anew or config.sources.get(name) != old.sources[name]]
        await self._silence(stale, Reason.RELOAD)
        async with self._swapping:
            self._scorer.use(prepared)
            self.config = config
            self._batcher.max_batch = config.encoder.max_batch
            self._gates, self._last = change_gates(config), {}
            before, self._detectors = self._detectors, {}
            self._metrics.configure(config)
            self.switches = self.switches.within(config)
            for name in config.sources:
                detector = self._detector(name)
                self._detectors[name] = detector
                if name in before:
                    await self._deliver_all(detector.succeed(before[name]))
            await self._tell_switches()
        for name in [name for name in self._listeners if name not in config.sources]:
            del self._listeners[name]
        for name in config.sources:
            if name in stale or config.sources[name] != old.sources.get(name):
                self._start(name)

    def stall(self) -> str | None:
        """Tell which open source makes no progress; None while all do."""
        return next((text for each in self._listeners.values() if (text := each.stall())), None)

    def silent_sources(self) -> list[str]:
        """Tell of every source that should deliver sound and scores now and doesn't."""
        return [text for each in self._listeners.values() if (text := each.silence())]

    def source_statuses(self) -> tuple[SourceStatus, ...]:
        """Describe every source, in the configuration's order."""
        return tuple(
            replace(each.status(), enabled=self.switches.on(name)) for name, each in self._listeners.items()
        )

    def activities(self) -> tuple[Activity, ...]:
        """Describe every event on every source that it is listened for."""
        return tuple(activity for each in self._detectors.values() for activity in each.activities())
