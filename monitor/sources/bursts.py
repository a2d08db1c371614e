"""Sound that comes in bursts, such as HLS, a segment of seconds at once: let out evenly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from monitor.types import AudioBlock

# Live, the newest window wins: a burst that is cut at once would leave one window of it to be scored.
_TIMES_REAL_TIME = 4.0
_MOST_BLOCKS = 300


class ReadAhead:
    """Takes blocks as they come, and lets them go at most four times as fast as time.

    They are dated when they are taken. Where a few hundred wait, reading waits too. `close` must follow.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[list[AudioBlock]]],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._monotonic = monotonic
        self._sleep = sleep
        self._blocks: asyncio.Queue[AudioBlock | Exception] = asyncio.Queue(_MOST_BLOCKS)
        self._due = monotonic()
        self._reading = asyncio.create_task(self._read_on(), name="reading ahead")

    async def _read_on(self) -> None:
        try:
            while True:
                for block in await self._read():
                    await self._blocks.put(block)
        except Exception as error:  # noqa: BLE001 - handed to whoever takes the blocks, whatever it is
            await self._blocks.put(error)

    async def next(self) -> AudioBlock:
        """Return the next block; raises what reading has raised, after the blocks before it."""
        block = await self._blocks.get()
        if isinstance(block, Exception):
            raise block
        now = self._monotonic()
        if self._due > now:
            await self._sleep(self._due - now)
        self._due = max(self._due, now) + len(block.samples) / block.rate_hz / _TIMES_REAL_TIME
        return block

    async def close(self) -> None:
        """Read no more."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
