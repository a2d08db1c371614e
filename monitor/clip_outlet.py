"""The outlet that records events: a tape per source, takes cut from it, one task that writes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from monitor.clip_names import clip_name
from monitor.clips.store import ClipStore
from monitor.clips.tape import Judged, Take, Tape
from monitor.config import ClipsConfig, Config
from monitor.errors import SinkError
from monitor.metrics import Metrics
from monitor.pipeline import Outlet
from monitor.rules import kept_behind_seconds
from monitor.status import ClipOutcome
from monitor.types import Activity, AudioBlock, Event, FloatArray, Phase, Scores, Window

_log = logging.getLogger(__name__)

_WAITING = 16
"""Clips that wait for the disk at most."""
_FLUSH_SECONDS = 4.0
_WHY = {
    ClipOutcome.VETOED: "something in it sounds like privacy.veto",
    ClipOutcome.UNJUDGED: "privacy.veto could not judge all of it (windows dropped, detection off)",
}


class ClipOutlet(Outlet):
    """Records; `named` gives an event its clip before the event is delivered."""

    def __init__(
        self,
        config: Config,
        clips: ClipsConfig,
        store: ClipStore,
        metrics: Metrics,
        vetoed: Callable[[FloatArray], FloatArray],
        *,
        clock: Callable[[], float] = time.time,
        prune_seconds: float = 3600.0,
    ) -> None:
        """`vetoed` returns how sure it is of unwanted sound, shape (B,), for embeddings (B, D)."""
        self._clock = clock
        self._prune_seconds = prune_seconds
        self._clips = clips
        self._store = store
        self._metrics = metrics
        self._vetoed = vetoed
        self._tapes: dict[str, Tape] = {}
        self._names: dict[str, str] = {}
        self._queue: asyncio.Queue[tuple[str, str, Take]] = asyncio.Queue(_WAITING)
        self._failing = False
        self._config = config
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Hear other sources and events from now on."""
        if config.privacy != self._config.privacy:
            for tape in self._tapes.values():
                tape.forget_judged()
        self._config = config
        for source in set(self._tapes) - set(config.sources):
            self._finish(source)
            del self._tapes[source]
        self._keep_seconds = self._clips.pre_seconds + kept_behind_seconds(config)
        for tape in self._tapes.values():
            tape.keep_seconds = self._keep_seconds

    def named(self, event: Event) -> Event:
        """Let a take end with its event; name the clip, unless it already must not be kept."""
        if event.phase is Phase.START or event.id not in self._names:
            return event
        take = self._tape(event.source).end(event.id, event.ended_at or event.started_at)
        return event if self._refusal(take) else replace(event, clip=self._names[event.id])

    def heard(self, block: AudioBlock) -> None:
        """Keep it for a while."""
        self._tape(block.source).push(block)

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        """Judge what the model has heard; what it hasn't must not be in a clip either."""
        if not self._config.privacy.veto:
            return
        scores = self._vetoed(embeddings)
        for window, row, score in zip(windows, embeddings, scores, strict=True):
            # Digital silence has no embedding, and nothing in it.
            if row.any() or not window.samples.any():
                wanted = bool(score < self._config.privacy.threshold)
                end = window.position + len(window.samples)
                self._tape(window.source).judge(Judged(window.position, end, wanted))

    async def deliver(self, event: Event) -> None:
        """Begin a take."""
        if event.phase is Phase.END or not self._is_kept(event.name):
            return
        if self._tape(event.source).begin(event.id, event.started_at):
            self._names[event.id] = clip_name(event)

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Write the takes that nothing new can change."""
        del activities
        for take in self._tape(scores.source).done(scores.end_time):
            self._hand_over(scores.source, take)

    def source_changed(self, source: str, online: bool) -> None:
        """Write what there is of a source that is lost."""
        if not online:
            self._finish(source)

    def finish(self) -> None:
        """Write what there is of all sources."""
        for source in self._tapes:
            self._finish(source)

    async def run(self) -> None:
        """Write clips for ever, and remove old ones also while there is nothing to write."""
        while True:
            try:
                async with asyncio.timeout(self._prune_seconds):
                    source, name, take = await self._queue.get()
            except TimeoutError:
                await self.prune()
                continue
            try:
                await self._write(source, name, take)
            finally:
                self._queue.task_done()

    async def prune(self) -> None:
        """Remove what is too old or too much."""
        await asyncio.to_thread(self._store.prune, self._clock())
        self._metrics.clip_bytes(self._store.total_bytes)

    async def flush(self) -> None:
        """Wait until all is written."""
        await self._queue.join()

    def _is_kept(self, name: str) -> bool:
        return name in self._config.events and self._config.events[name].clip

    def _tape(self, source: str) -> Tape:
        if source not in self._tapes:
            self._tapes[source] = Tape(
                keep_seconds=self._keep_seconds,
                pre_seconds=self._clips.pre_seconds,
                post_seconds=self._clips.post_seconds,
                max_seconds=self._clips.max_seconds,
            )
        return self._tapes[source]

    def _finish(self, source: str) -> None:
        for take in self._tape(source).close():
            self._hand_over(source, take)

    def _refusal(self, take: Take) -> ClipOutcome | None:
        """Tell why a take must not be kept, as far as that is known."""
        if not self._config.privacy.veto:
            return None
        if take.unwanted_from is not None and take.unwanted_from < take.last:
            return ClipOutcome.VETOED
        holed = take.unjudged_from is not None and take.unjudged_from < take.last
        return ClipOutcome.UNJUDGED if holed or take.judged_until == take.begin else None

    def _hand_over(self, source: str, take: Take) -> None:
        name = self._names.pop(take.name)
        if refusal := self._refusal(take):
            self._metrics.clip(source, refusal)
            _log.info("%s isn't kept: %s", name, _WHY[refusal])
            return
        if self._config.privacy.veto:
            take.end = min(take.last, take.judged_until)
        try:
            self._queue.put_nowait((source, name, take))
        except asyncio.QueueFull:
            self._metrics.clip(source, ClipOutcome.FAILED)
            self._complain("the disk is too slow for the clips; some are not kept")

    async def _write(self, source: str, name: str, take: Take) -> None:
        try:
            await asyncio.to_thread(
                lambda: self._store.write(name, take.samples(), take.rate_hz, self._clock())
            )
        except SinkError as error:
            self._metrics.clip(source, ClipOutcome.FAILED)
            self._complain(str(error))
            return
        if self._failing:
            _log.info("clips are written again")
            self._failing = False
        self._metrics.clip(source, ClipOutcome.WRITTEN)
        self._metrics.clip_bytes(self._store.total_bytes)

    def _complain(self, text: str) -> None:
        _log.log(logging.DEBUG if self._failing else logging.WARNING, "%s", text)
        self._failing = True


@asynccontextmanager
async def clip_outlet(
    config: Config,
    clips: ClipsConfig,
    metrics: Metrics,
    vetoed: Callable[[FloatArray], FloatArray],
) -> AsyncIterator[ClipOutlet]:
    """Record until left, then write what is open; raises SinkError where the folder can't be written."""
    store = await asyncio.to_thread(ClipStore, clips.directory, clips.keep_days, clips.max_bytes)
    outlet = ClipOutlet(config, clips, store, metrics, vetoed)
    await outlet.prune()
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(outlet.run(), name="clips")
        try:
            yield outlet
        finally:
            outlet.finish()
            with suppress(TimeoutError):
                await asyncio.wait_for(outlet.flush(), _FLUSH_SECONDS)
            writing.cancel()
