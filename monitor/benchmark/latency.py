"""How soon an alert comes: the real pipeline over sources that deliver noise in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from prometheus_client import CollectorRegistry

from monitor.config import Config, DemoSource, EncoderConfig, SourceConfig
from monitor.metrics import Metrics
from monitor.pipeline import Outlet, Pipeline
from monitor.scoring import Scorer
from monitor.sources.playback import Pacer, Playback
from monitor.types import Activity, AudioBlock, FloatArray, Scores

BLOCK_SECONDS = 0.05
SETTLING_SECONDS = 3.0
"""Not counted: all sources' first windows come at once, and are computed whole."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the last sample of a window to its decision, when its events are handed on."""

    median: float
    percentile_99: float
    windows: int
    """That were decided on."""
    dropped: int
    """Windows that were late, and gave way to newer ones."""


class _Noise:
    """A source that delivers the same noise again and again."""

    problem: str | None = None
    overflows: int = 0

    def __init__(self, name: str, samples: FloatArray, rate_hz: int, delay_seconds: float) -> None:
        self.name = name
        self._blocks = np.split(samples, len(samples) // round(BLOCK_SECONDS * rate_hz))
        self._rate_hz = rate_hz
        self._delay_seconds = delay_seconds
        self._turn = 0

    async def __aenter__(self) -> Self:
        await asyncio.sleep(self._delay_seconds)
        self._playback = Playback(self.name, self._rate_hz, time.time(), Pacer())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioBlock:
        block = self._blocks[self._turn % len(self._blocks)]
        self._turn += 1
        return await self._playback.block(block, gap=False)


class _Clock(Outlet):
    """Notes how late each decision comes."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.milliseconds: list[float] = []

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:  # noqa: ARG002 - an outlet's
        """Compare the window's end with now."""
        if time.monotonic() - self._began > SETTLING_SECONDS:
            self.milliseconds.append(1000.0 * (time.time() - scores.end_time))


def measure_latency(
    config: Config, encoder: EncoderConfig, counts: Sequence[int], seconds: float
) -> Mapping[int, Latency]:
    """Listen with each number of sources for some seconds; raises EncoderError."""
    return asyncio.run(_measure(config.model_copy(update={"encoder": encoder}), counts, seconds))


async def _measure(config: Config, counts: Sequence[int], seconds: float) -> Mapping[int, Latency]:
    scorer = Scorer()
    try:
        scorer.use(await scorer.prepare(config))
        return {count: await _listen(config, scorer, count, seconds) for count in counts}
    finally:
        scorer.close()


async def _listen(config: Config, scorer: Scorer, count: int, seconds: float) -> Latency:
    rate_hz, hop = scorer.encoder.rate_hz, config.windows.hop_seconds
    noise = (0.1 * np.random.default_rng(0).standard_normal(2 * rate_hz)).astype(np.float32)
    # In turn, as microphones that nobody has started together.
    delays = {f"source_{number}": hop * number / count for number in range(count)}

    def noisy(name: str, _config: SourceConfig, rate_hz: int) -> _Noise:
        return _Noise(name, noise, rate_hz, delays[name])

    sources = {name: DemoSource(type="demo") for name in delays}
    config = config.model_copy(update={"sources": sources})
    clock = _Clock()
    metrics = Metrics(CollectorRegistry(), config)
    pipeline = Pipeline(config, scorer, clock, metrics, open_source=noisy)
    asyncio.get_running_loop().call_later(SETTLING_SECONDS + seconds, pipeline.stop)
    await pipeline.run()
    dropped = sum(sum(each.windows_dropped.values()) for each in pipeline.source_statuses())
    late = clock.milliseconds or [float("nan")]
    return Latency(float(np.median(late)), float(np.percentile(late, 99)), len(clock.milliseconds), dropped)
