"""Inputs that are open: one capture process for each, however many sources listen to its channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from monitor.config import MicrophoneSource
from monitor.errors import SourceError
from monitor.pcm import decode
from monitor.sources import helper
from monitor.sources.helper import PacketHead
from monitor.types import FloatArray

# What may pile up while the event loop hangs; beyond this, samples are lost and counted.
_RING_SECONDS = 4.0
# The same for a source that doesn't take what is there.
_QUEUE_SECONDS = 4.0
_OPEN_SECONDS = 10.0
# A sound server may take seconds to wake a device; once it runs, it must go on.
_FIRST_SECONDS = 5.0
_SECOND_LOOK_SECONDS = 0.25
_CLOSE_SECONDS = 2.0
_REMEDY = "run `sound-monitor devices` to see what is there"

_log = logging.getLogger(__name__)

Key = tuple[str | None, int]
"""What makes an input the same: the device's name as it was given, and the rate wanted of it."""


class Captures:
    """The inputs that sources listen to now; the first to come opens one, the last to go closes it."""

    def __init__(self) -> None:
        self._open: dict[Key, Capture] = {}
        self._channels: dict[Key, int] = {}

    @asynccontextmanager
    async def listen(self, config: MicrophoneSource, rate_hz: int) -> AsyncIterator[Listening]:
        """Open the device, or join those who have; raises SourceError."""
        key = (None if config.device is None else config.device.casefold(), rate_hz)
        # Remembered over a loss: the first source that comes back opens the device for all.
        self._channels[key] = max(self._channels.get(key, 1), config.channel)
        while (capture := self._open.get(key)) is not None and not capture.takes(config.channel):
            await capture.end(f"{capture.device} is opened anew, for channel {config.channel} too")
        if capture is None:
            capture = self._open[key] = Capture(
                config, rate_hz, lambda: self._channels[key], lambda: self._open.pop(key)
            )
        listening = capture.join()
        try:
            await listening.opened(config.channel)
            yield listening
        finally:
            await capture.leave(listening)


class Listening:
    """One source's share of an open input: packets, bounded, and what became of the input."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._packets: deque[tuple[PacketHead, FloatArray]] = deque()
        self._changed = asyncio.Event()
        self._lost = self._overflows = 0

    async def opened(self, channel: int) -> helper.Opened:
        """Wait until the input is open; raises SourceError when it can't be, or hasn't got the channel."""
        while (opened := self._capture.opened) is None:
            await self._wait()
        if channel > opened.channels:
            count = opened.device_channels
            raise SourceError(
                f"device {opened.name!r} has {count} channels: there is no {channel}; name one of them"
            )
        return opened

    async def packet(self) -> tuple[PacketHead, FloatArray]:
        """Return the next frames, shape (frames, channels); raises SourceError when the input is lost."""
        while not self._packets:
            await self._wait()
        return self._packets.popleft()

    async def _wait(self) -> None:
        failure = self._capture.failure
        if isinstance(failure, SourceError):
            raise SourceError(str(failure))  # one for each source: a traceback grows where it is raised
        if failure is not None:
            raise failure
        self._changed.clear()
        await self._changed.wait()

    def put(self, head: PacketHead, frames: FloatArray, most: int) -> None:
        """Take a packet over; beyond `most` it is lost, and counted."""
        if len(self._packets) >= most:
            self._lost += head.lost + len(frames)
            self._overflows += head.overflows
            return
        whole = PacketHead(head.lost + self._lost, head.overflows + self._overflows, head.arrived_at)
        self._lost = self._overflows = 0
        self._packets.append((whole, frames))
        self._changed.set()

    def wake(self) -> None:
        """Let the source look at the input's state."""
        self._changed.set()


class Capture:
    """One capture process and a task that hands its packets to every listener."""

    def __init__(
        self,
        config: MicrophoneSource,
        rate_hz: int,
        channels: Callable[[], int],
        closed: Callable[[], object],
    ) -> None:
        self.device = "the default input" if config.device is None else f"device {config.device!r}"
        self.opened: helper.Opened | None = None
        self.failure: Exception | None = None
        self._config = config
        self._rate_hz = rate_hz
        self._channels = channels
        self._listeners: list[Listening] = []
        self._task = asyncio.create_task(self._run(), name=f"capture of {self.device}")
        self._task.add_done_callback(lambda _: closed())

    def takes(self, channel: int) -> bool:
        """Tell whether a source can join: unless it closes, or must be opened anew for the channel."""
        lacks = self.opened is not None and self.opened.channels < channel <= self.opened.device_channels
        return self.failure is None and not lacks

    def join(self) -> Listening:
        """Begin to listen."""
        listening = Listening(self)
        self._listeners.append(listening)
        return listening

    async def leave(self, listening: Listening) -> None:
        """Stop listening; the last one closes the input, and with a lost one all wait until it is closed."""
        self._listeners.remove(listening)
        if not self._listeners or self.failure is not None:
            await self.end(f"{self.device} is closed: nobody listens")

    async def end(self, reason: str) -> None:
        """Close the input under its listeners, unless it is closing already, and wait until it is closed."""
        if self.failure is None:
            self._fail(SourceError(reason))
            self._task.cancel()
        await asyncio.wait([self._task])

    def _fail(self, failure: Exception) -> None:
        self.failure = failure
        for listening in self._listeners:
            listening.wake()

    async def _run(self) -> None:
        # Sources that begin together are all counted before the device is opened.
        await asyncio.sleep(0)
        try:
            async with self._process() as reader:
                self.opened = opened = await self._open(reader)
                _log.debug("%s: %s", self.device, opened)
                for listening in self._listeners:
                    listening.wake()
                await self._hand_out(reader, opened)
        except Exception as error:  # noqa: BLE001 - handed to the sources, whatever it is
            if self.failure is None:
                self._fail(error)

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[asyncio.StreamReader]:
        request = {
            "device": self._config.device,
            "channels": self._channels(),
            "rate_hz": self._rate_hz,
            "block_seconds": self._config.block_seconds,
            "ring_seconds": _RING_SECONDS,
        }
        process, connection = helper.start(request)
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            yield reader
        except SourceError as error:
            # Told before PortAudio is asked to close, which may hang.
            self._fail(error)
            raise
        finally:
            await self._close(process, writer)

    async def _open(self, reader: asyncio.StreamReader) -> helper.Opened:
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                answer = helper.parse_answer(await reader.readline())
        except TimeoutError:
            raise SourceError(
                f"{self.device} didn't open within {_OPEN_SECONDS:g} s: is the sound server hanging?"
            ) from None
        return helper.Opened(**answer["opened"])

    async def _hand_out(self, reader: asyncio.StreamReader, opened: helper.Opened) -> None:
        patience_seconds = _FIRST_SECONDS
        most = round(_QUEUE_SECONDS / opened.block_seconds)
        while True:
            packet = await self._packet(reader, opened, patience_seconds)
            patience_seconds = max(1.0, 4 * opened.block_seconds)
            head = PacketHead._make(helper.PACKET_HEAD.unpack_from(packet))
            frames = decode(memoryview(packet)[helper.PACKET_HEAD.size :], "f32le", opened.channels)
            for listening in self._listeners:
                listening.put(head, frames, most)
            await asyncio.sleep(0)

    async def _packet(
        self, reader: asyncio.StreamReader, opened: helper.Opened, patience_seconds: float
    ) -> bytes:
        # An event loop that hung finds its timer due before it has looked at the socket: then look again.
        for seconds in (patience_seconds, _SECOND_LOOK_SECONDS):
            try:
                async with asyncio.timeout(seconds):
                    return await reader.readexactly(opened.packet_bytes)
            except TimeoutError:
                continue
            except (asyncio.IncompleteReadError, ConnectionError):
                raise SourceError(
                    f"{self.device} is gone: unplugged, or the sound server stopped; {_REMEDY}"
                ) from None
        raise SourceError(f"{self.device} gave no sound for {patience_seconds:g} s; {_REMEDY}")

    async def _close(self, process: subprocess.Popen[bytes], writer: asyncio.StreamWriter) -> None:
        """End the helper: by closing its socket, or by force when PortAudio hangs in it."""
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        if await asyncio.to_thread(_ended, process):
            return
        process.kill()
        if not await asyncio.to_thread(_ended, process):
            _log.warning("%s: capture process %d can't be ended", self.device, process.pid)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True
