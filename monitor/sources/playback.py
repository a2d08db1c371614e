"""Playing what isn't live: let go in real time or at once, positioned and dated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from monitor.pcm import frozen
from monitor.types import AudioBlock, FloatArray

_BEHIND_SECONDS = 1.0


class Pacer:
    """Lets a recording go as fast as time, by deadlines from its beginning: late sleeps don't add up."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._begin = monotonic()

    async def reach(self, seconds: float) -> float:
        """Sleep until `seconds` of the recording are due.

        Return 0.0; or, when that was over a second ago (the machine slept), the time that is given up.
        """
        ahead = self._begin + seconds - self._monotonic()
        await self._sleep(max(ahead, 0.0))
        if ahead >= -_BEHIND_SECONDS:
            return 0.0
        self._begin -= ahead
        return -ahead


class Playback:
    """One opening of a recording: position 0 is at `anchor` (Unix seconds), which time given up puts off."""

    def __init__(self, source: str, rate_hz: int, anchor: float, pacer: Pacer | None) -> None:
        self._source = source
        self._rate_hz = rate_hz
        self._anchor = anchor
        self._pacer = pacer
        self._position = 0

    async def block(self, samples: FloatArray, *, gap: bool) -> AudioBlock:
        """Return the next samples, not before their last is due when played in real time."""
        start, self._position = self._position, self._position + len(samples)
        if self._pacer is not None and (skipped := await self._pacer.reach(self._position / self._rate_hz)):
            self._anchor += skipped
            gap = True
        start_time = self._anchor + start / self._rate_hz
        return AudioBlock(self._source, start, self._rate_hz, frozen(samples), start_time, gap)
