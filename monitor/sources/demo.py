"""A made-up scene: a quiet room, and every 12 to 20 s an everyday sound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from types import TracebackType
from typing import Self

import numpy as np

from monitor.config import DemoSource
from monitor.pcm import Resampler
from monitor.sources.playback import Pacer, Playback
from monitor.sources.sounds import RATE_HZ, SOUNDS, make, room_tone
from monitor.types import AudioBlock, FloatArray

_BLOCK_SECONDS = 0.05
_LONGEST_SECONDS = 20.0
_ROOM_TONE = 10.0 ** (-58.0 / 20.0)
_PEAK = 0.4


@dataclass(frozen=True, slots=True)
class Heard:
    """A sound of the scene, in seconds since its beginning."""

    label: str
    """One of `sounds.SOUNDS`."""
    onset: float
    offset: float


def scene(seed: int) -> Iterator[tuple[FloatArray, Heard]]:
    """Yield the scene, endless, a part of 12 to 20 s at 48 kHz and its sound at a time."""
    rng = np.random.default_rng(seed)
    quiet = _ROOM_TONE * room_tone(rng, _LONGEST_SECONDS)
    began = 0
    for label in _labels(rng):
        sound = make(label, rng)
        part = quiet[: round(rng.uniform(12.0, _LONGEST_SECONDS) * RATE_HZ)].copy()
        start = round(rng.uniform(2.0, 3.5) * RATE_HZ)
        part[start : start + len(sound)] += rng.uniform(0.6, 1.0) * _PEAK * sound
        onset = (began + start) / RATE_HZ
        yield part.astype(np.float32), Heard(label, onset, onset + len(sound) / RATE_HZ)
        began += len(part)


def schedule(seed: int, seconds: float) -> list[Heard]:
    """Return the sounds that begin within the scene's first seconds."""
    return list(takewhile(lambda heard: heard.onset < seconds, (heard for _, heard in scene(seed))))


def _labels(rng: np.random.Generator) -> Iterator[str]:
    """Yield every label once, in a random order, then again; never one twice in a row."""
    last = ""
    while True:
        order = [str(label) for label in rng.permutation(list(SOUNDS))]
        if order[0] == last:
            order.reverse()
        yield from order
        last = order[-1]


class Demo:
    """Yields the scene in real time, for ever; the same seed gives the same sounds at the same times."""

    problem: str | None = None
    overflows: int = 0

    def __init__(self, name: str, config: DemoSource, rate_hz: int) -> None:
        self.name = name
        self._config = config
        self._rate_hz = rate_hz

    async def __aenter__(self) -> Self:
        self._parts = scene(self._config.seed)
        # A part ahead, because a small machine needs a second or two to make one.
        self._upcoming = self._make()
        await asyncio.wait([self._upcoming])
        self._resampler = Resampler(RATE_HZ, self._rate_hz)
        self._samples = np.zeros(0, dtype=np.float32)
        self._playback = Playback(self.name, self._rate_hz, time.time(), Pacer())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._upcoming.cancel()
        await asyncio.wait([self._upcoming])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioBlock:
        if not self._samples.size:
            self._samples = self._resampler.process(await self._upcoming)
            self._upcoming = self._make()
        size = round(_BLOCK_SECONDS * self._rate_hz)
        block, self._samples = self._samples[:size], self._samples[size:]
        return await self._playback.block(block, gap=False)

    def _make(self) -> asyncio.Task[FloatArray]:
        return asyncio.create_task(asyncio.to_thread(lambda: next(self._parts)[0]))
