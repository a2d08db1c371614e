"""An input of the sound card, captured by a helper process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from monitor.config import MicrophoneSource
from monitor.errors import SourceError
from monitor.pcm import StuckDetector, decode, pick, sanitised
from monitor.sources import helper
from monitor.sources.timeline import Now, Timeline
from monitor.types import AudioBlock

# What may pile up while the event loop hangs; beyond this, samples are lost and counted.
_RING_SECONDS = 4.0
_OPEN_SECONDS = 10.0
# A sound server may take seconds to wake a device; once it runs, it must go on.
_FIRST_SECONDS = 5.0
_SECOND_LOOK_SECONDS = 0.25
_CLOSE_SECONDS = 2.0
_REMEDY = "run `sound-monitor devices` to see what is there"

_log = logging.getLogger(__name__)


class Microphone:
    """Yields what one channel of an input hears, until the device is lost: then a SourceError."""

    def __init__(
        self, name: str, config: MicrophoneSource, rate_hz: int, now: Callable[[], Now] = Now.read
    ) -> None:
        self.name = name
        self.problem: str | None = None
        self.overflows = 0
        self._config = config
        self._rate_hz = rate_hz
        self._now = now

    async def __aenter__(self) -> Self:
        request = {
            "device": self._config.device,
            "channel": self._config.channel,
            "rate_hz": self._rate_hz,
            "block_seconds": self._config.block_seconds,
            "ring_seconds": _RING_SECONDS,
        }
        self._process, connection = helper.start(request)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection)
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                answer = helper.parse_answer(await self._reader.readline())
        except TimeoutError:
            await self._close()
            raise SourceError(
                f"{self._device} didn't open within {_OPEN_SECONDS:g} s: is the sound server hanging?"
            ) from None
        except BaseException:
            await self._close()
            raise
        self._opened = opened = helper.Opened(**answer["opened"])
        _log.debug("source %s: %s", self.name, opened)
        self._timeline = Timeline(self.name, opened.rate_hz, self._rate_hz)
        self._stuck = StuckDetector(self._config.stuck_seconds, opened.rate_hz)
        self._patience_seconds = _FIRST_SECONDS
        self._ready: deque[AudioBlock] = deque()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioBlock:
        while not self._ready:
            self._ready.extend(await self._next_blocks())
        return self._ready.popleft()

    async def _next_blocks(self) -> list[AudioBlock]:
        head, data = await self._packet()
        self._patience_seconds = max(1.0, 4 * self._opened.block_seconds)
        self.overflows += head.overflows + (head.lost > 0)
        frames = decode(data, "f32le", self._opened.channels)
        samples = sanitised(pick(frames, self._config.channel))
        self.problem = self._describe_stuck() if self._stuck.process(samples) else None
        return self._timeline.push(
            samples,
            captured_at=head.arrived_at,
            now=self._now(),
            lost=head.lost,
            torn=head.overflows > 0,
        )

    async def _packet(self) -> tuple[helper.PacketHead, bytes]:
        # An event loop that hung finds its timer due before it has looked at the socket: then look again.
        for patience_seconds in (self._patience_seconds, _SECOND_LOOK_SECONDS):
            try:
                async with asyncio.timeout(patience_seconds):
                    packet = await self._reader.readexactly(self._opened.packet_bytes)
            except TimeoutError:
                continue
            except (asyncio.IncompleteReadError, ConnectionError):
                raise SourceError(
                    f"{self._device} is gone: unplugged, or the sound server stopped; {_REMEDY}"
                ) from None
            size = helper.PACKET_HEAD.size
            return helper.PacketHead._make(helper.PACKET_HEAD.unpack(packet[:size])), packet[size:]
        raise SourceError(f"{self._device} gave no sound for {self._patience_seconds:g} s; {_REMEDY}")

    def _describe_stuck(self) -> str:
        seconds = f"{self._config.stuck_seconds:g} s"
        if self._stuck.silent:
            return f"exact silence for over {seconds}: muted, the wrong input, or nothing on its jack?"
        return f"one and the same value for over {seconds}: a broken input?"

    @property
    def _device(self) -> str:
        device = self._config.device
        return "the default input" if device is None else f"device {device!r}"

    async def _close(self) -> None:
        """End the helper: by closing its socket, or by force when PortAudio hangs in it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        if await asyncio.to_thread(_ended, self._process):
            return
        self._process.kill()
        if not await asyncio.to_thread(_ended, self._process):
            _log.warning("source %s: capture process %d can't be ended", self.name, self._process.pid)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True
