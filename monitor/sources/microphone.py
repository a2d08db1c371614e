"""One channel of an input of the sound card."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from monitor.config import MicrophoneSource
from monitor.pcm import StuckDetector, pick, sanitised
from monitor.sources.sharing import Captures
from monitor.sources.timeline import Now, Timeline
from monitor.types import AudioBlock


class Microphone:
    """Yields what one channel of an input hears, until the device is lost: then a SourceError."""

    def __init__(
        self,
        name: str,
        config: MicrophoneSource,
        rate_hz: int,
        captures: Captures,
        now: Callable[[], Now] = Now.read,
    ) -> None:
        self.name = name
        self.problem: str | None = None
        self.overflows = 0
        self._config = config
        self._rate_hz = rate_hz
        self._captures = captures
        self._now = now

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listening = self._captures.listen(self._config, self._rate_hz)
            self._listening = await stack.enter_async_context(listening)
            opened = await self._listening.opened(self._config.channel)
            self._timeline = Timeline(self.name, opened.rate_hz, self._rate_hz)
            self._stuck = StuckDetector(self._config.stuck_seconds, opened.rate_hz)
            self._ready: deque[AudioBlock] = deque()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioBlock:
        while not self._ready:
            self._ready.extend(await self._next_blocks())
        return self._ready.popleft()

    async def _next_blocks(self) -> list[AudioBlock]:
        head, frames = await self._listening.packet()
        self.overflows += head.overflows + (head.lost > 0)
        samples = sanitised(pick(frames, self._config.channel))
        self.problem = self._describe_stuck() if self._stuck.process(samples) else None
        return self._timeline.push(
            samples,
            captured_at=head.arrived_at,
            now=self._now(),
            lost=head.lost,
            torn=head.overflows > 0,
        )

    def _describe_stuck(self) -> str:
        seconds = f"{self._config.stuck_seconds:g} s"
        if self._stuck.silent:
            return f"exact silence for over {seconds}: muted, the wrong input, or nothing on its jack?"
        return f"one and the same value for over {seconds}: a broken input?"
