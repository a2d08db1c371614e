"""Listening to one source for ever: open, cut into windows, hand on, and open again after a loss."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from monitor.batching import Batcher
from monitor.conditioning import Conditioner
from monitor.config import FileSource, SourceConfig, WindowsConfig
from monitor.errors import SourceError
from monitor.metrics import Metrics
from monitor.status import DropReason, RestartReason, SourceState, SourceStatus
from monitor.supervise import Supervisor
from monitor.types import AudioBlock, Source, Window
from monitor.windows import WindowCutter

_log = logging.getLogger(__name__)

OpenSource = Callable[[str, SourceConfig, int], Source]
"""Makes a source by name, configuration and sample rate; see `monitor.sources.open_source`."""

# Longer than any hop and any pause that a healthy source makes.
_PROGRESS_SECONDS = 15.0


class Listener:
    """One source's way to the batcher, and what there is to tell about it."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        windows: WindowsConfig,
        rate_hz: int,
        batcher: Batcher,
        metrics: Metrics,
        *,
        open_source: OpenSource,
        lossless: bool,
        changed: Callable[[str, bool], Awaitable[None]],
        heard: Callable[[AudioBlock], None],
    ) -> None:
        self.name = name
        self.config = config
        self._windows = windows
        self._rate_hz = rate_hz
        self._batcher = batcher
        self._metrics = metrics
        self._open_source = open_source
        # Sound that isn't paced waits for the scoring; live, it can't wait.
        self._waits = lossless or (isinstance(config, FileSource) and not config.realtime)
        self._changed = changed
        self._on_block = heard
        self._online = False
        self._ended = False
        self._delivered = False
        self._problem: str | None = None
        self.last_audio_at: float | None = None
        self._last_score_at: float | None = None
        self._level_dbfs: float | None = None
        self._overflows = 0
        self._overflows_before = 0
        self._restarts = 0
        self._overdriven = self._overdriven_told = False
        self._scored = 0
        self._dropped: Counter[DropReason] = Counter()
        self._audio_progress = time.monotonic()
        self._unscored_since: float | None = None
        self._unfilled_seconds = 0.0
        self._supervisor = Supervisor(f"source {name}", () if lossless else (SourceError,))

    async def run(self) -> None:
        """Listen until the source ends of itself, as a file does; a lost source is opened again."""
        await self._supervisor.run(self._attempt, self._failed)
        self._problem = "has ended"
        self._ended = True

    async def _attempt(self) -> None:
        self._delivered = False
        source = self._open_source(self.name, self.config, self._rate_hz)
        cutter = WindowCutter(
            self.name, self._rate_hz, self._windows.window_seconds, self._windows.hop_seconds
        )
        conditioner = Conditioner(self.config, self._rate_hz)
        try:
            async with source:
                async for raw in source:
                    block = conditioner.process(raw)
                    self._look_at_level(conditioner)
                    if not self._online:
                        await self._opened()
                    self._heard(block, source)
                    self._on_block(block)
                    for window in cutter.push(block):
                        await self._hand_on(window)
                if self._waits:
                    for window in cutter.flush():
                        await self._hand_on(window)
        finally:
            self._overflows_before = self._overflows
            if self._online:
                self._online = False
                self._batcher.sources -= 1
                self._metrics.source_up(self.name, False)
        await self._changed(self.name, False)

    async def _opened(self) -> None:
        self._online = self._delivered = True
        self._problem = None
        self._supervisor.succeeded()
        self._batcher.sources += 1
        self._audio_progress = time.monotonic()
        self._unscored_since = None
        self._unfilled_seconds = 0.0
        self._metrics.source_up(self.name, True)
        await self._changed(self.name, True)

    async def _failed(self, error: Exception) -> None:
        self._problem = str(error)
        self._restarts += 1
        reason = RestartReason.LOST if self._delivered else RestartReason.OPEN_FAILED
        self._metrics.restart(self.name, reason)
        await self._changed(self.name, False)

    def _heard(self, block: AudioBlock, source: Source) -> None:
        self.last_audio_at = block.start_time + len(block.samples) / block.rate_hz
        self._audio_progress = time.monotonic()
        problem = source.problem or self._torn()
        if problem != self._problem:
            self._set_problem(problem)
        self._unfilled_seconds += len(block.samples) / block.rate_hz
        total = self._overflows_before + source.overflows
        if total != self._overflows:
            self._metrics.overflow(self.name, total - self._overflows)
            self._overflows = total

    def _torn(self) -> str | None:
        """Tell of sound that never lasts for a window: that is the source's, and no restart would mend it."""
        if self._unfilled_seconds <= self._patience_seconds:
            return None
        return (
            f"its sound never lasts {self._windows.window_seconds:g} s without a gap, so nothing is scored: "
            "mend what loses sound, loop a longer file, or lower windows.window_seconds"
        )

    def _look_at_level(self, conditioner: Conditioner) -> None:
        if conditioner.clipped:
            self._metrics.clipped(self.name, conditioner.clipped)
        if conditioner.overdriven != self._overdriven:
            self._overdriven = conditioner.overdriven
            if self._overdriven:
                level = logging.DEBUG if self._overdriven_told else logging.WARNING
                _log.log(level, "source %s: comes in at full scale, clipped; lower its level", self.name)
                self._overdriven_told = True

    def _set_problem(self, problem: str | None) -> None:
        self._problem = problem
        self._metrics.source_up(self.name, problem is None)
        if problem is None:
            _log.info("source %s: delivers sound again", self.name)
        else:
            _log.warning("source %s: %s", self.name, problem)

    async def _hand_on(self, window: Window) -> None:
        self._unfilled_seconds = 0.0
        if self._unscored_since is None:
            self._unscored_since = time.monotonic()
        self._level_dbfs = window.level_dbfs
        self._metrics.audio(self.name, window.end_time, window.level_dbfs)
        if self._waits:
            await self._batcher.put(window)
        elif await self._batcher.offer(window):
            self.drop(DropReason.SUPERSEDED)

    def drop(self, reason: DropReason) -> None:
        """Count a window that won't be scored."""
        self._dropped[reason] += 1
        self._metrics.window_dropped(self.name, reason)

    def scored(self, end_time: float) -> None:
        """Count a window that has been scored."""
        self._scored += 1
        self._last_score_at = end_time
        self._unscored_since = None
        self._metrics.window_scored(self.name)

    def stall(self) -> str | None:
        """Tell what doesn't advance though the source is open; None while all does."""
        if not self._online:
            return None
        now = time.monotonic()
        if now - self._audio_progress > _PROGRESS_SECONDS:
            return f"source {self.name}: no audio for {now - self._audio_progress:.0f} s"
        if self._unscored_since is not None and now - self._unscored_since > self._patience_seconds:
            return f"source {self.name}: no scores for {now - self._unscored_since:.0f} s"
        return None

    @property
    def _patience_seconds(self) -> float:
        return _PROGRESS_SECONDS + self._windows.window_seconds

    def silence(self) -> str | None:
        """Tell why there is no sound or no score of it; None while all is well, and once a file has ended."""
        if self._ended or (self._online and self._problem is None):
            return self.stall()
        return f"source {self.name}: {self._problem or 'is being opened'}"

    def status(self) -> SourceStatus:
        """Describe the source as it is now."""
        if not self._online:
            state = SourceState.OFFLINE
        else:
            state = SourceState.ONLINE if self._problem is None else SourceState.PROBLEM
        return SourceStatus(
            name=self.name,
            state=state,
            problem=self._problem,
            last_audio_at=self.last_audio_at,
            last_score_at=self._last_score_at,
            level_dbfs=self._level_dbfs,
            overflows=self._overflows,
            restarts=self._restarts,
            windows_scored=self._scored,
            windows_dropped=dict(self._dropped),
        )


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has cleaned up; what it raises else passes through its group."""
    task.cancel()
    await asyncio.wait([task])
