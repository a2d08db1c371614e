"""Raw samples from another machine or program: over TCP, or from standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

import numpy as np

from monitor.config import PcmSource, host_and_port
from monitor.errors import SourceError
from monitor.pcm import downmix, pick, sample_bytes, sanitised
from monitor.sources.stream import RawStream, StalledError
from monitor.sources.timeline import Now, Timeline
from monitor.types import AudioBlock, FloatArray

_BLOCK_SECONDS = 0.1
_CONNECT_SECONDS = 10.0
# What a pipe's writer may run ahead: enough to follow its clock, too little to matter.
_AHEAD_SECONDS = 0.25
_RATE_OVER_SECONDS = 10.0
_RATE_TOLERANCE = 0.05
# Sound is rarely, and not for long, beyond full scale; bytes that aren't floats mostly are.
_BEYOND = 4.0

_log = logging.getLogger(__name__)

Connection = tuple[asyncio.StreamReader, str]
"""What to read from, and who sends, for people."""


class RateWatch:
    """Tells a stated rate from what comes: the frames of 10 s, again and again."""

    def __init__(self, rate_hz: int, monotonic: float) -> None:
        self._rate_hz = rate_hz
        self._began = monotonic
        self._frames = 0
        self.problem: str | None = None

    def count(self, frames: int, monotonic: float) -> None:
        """Take in frames that came now."""
        self._frames += frames
        elapsed = monotonic - self._began
        if elapsed < _RATE_OVER_SECONDS:
            return
        came_hz = self._frames / elapsed
        if abs(came_hz / self._rate_hz - 1.0) <= _RATE_TOLERANCE:
            self.problem = None
        elif self.problem is None:  # else it lasts: another number is no news
            self.problem = (
                f"about {float(f'{came_hz:.3g}'):g} frames a second come, and rate_hz says {self._rate_hz}: "
                "mend it, or encoding and channels, unless the network loses sound"
            )
        self._began, self._frames = monotonic, 0


class Pcm:
    """Yields what one sender sends, as mono at rate_hz. When it goes that is a SourceError; a pipe just ends.

    Over TCP the sound is that of now: what comes sooner than it can have been heard is left out. A pipe's
    writer is made to wait instead. Samples are dated by when they come, right to half a second.
    """

    overflows: int = 0

    def __init__(self, name: str, config: PcmSource, rate_hz: int, now: Callable[[], Now] = Now.read) -> None:
        self.name = name
        self._config = config
        self._rate_hz = rate_hz
        self._now = now
        self._garbage = False

    @property
    def problem(self) -> str | None:
        """What is wrong with what comes."""
        if self._garbage:
            return "most samples are far beyond full scale: is encoding f32le right?"
        return self._watch.problem

    async def __aenter__(self) -> Self:
        config = self._config
        frame_bytes = config.channels * sample_bytes(config.encoding)
        block_frames = round(_BLOCK_SECONDS * config.rate_hz)
        async with AsyncExitStack() as stack:
            way = _way(self.name, config, limit=block_frames * frame_bytes)
            reader, self._sender = await stack.enter_async_context(way)
            self._stack = stack.pop_all()
        self._stream = RawStream(
            reader,
            config.encoding,
            config.channels,
            block_frames,
            first_seconds=config.stall_seconds,
            stall_seconds=config.stall_seconds,
        )
        self._timeline = Timeline(self.name, config.rate_hz, self._rate_hz, drop_early=config.path is None)
        self._watch = RateWatch(config.rate_hz, self._now().monotonic)
        self._ready: deque[AudioBlock] = deque()
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
        samples = self._mono(await self._frames())
        now = self._now()
        early = self._timeline.early_seconds(len(samples), monotonic=now.monotonic)
        if self._config.path is not None and early > _AHEAD_SECONDS:
            await asyncio.sleep(early - _AHEAD_SECONDS)
            now = self._now()
        self._watch.count(len(samples), now.monotonic)
        return self._timeline.push(samples, captured_at=now.monotonic, now=now)

    async def _frames(self) -> FloatArray:
        try:
            frames = await self._stream.read()
        except StalledError as error:
            raise SourceError(
                f"{self._sender} sent nothing for {error.args[0]:g} s; is it stopped?"
            ) from None
        except OSError as error:
            raise SourceError(f"{self._sender} is gone: {error.strerror or error}") from None
        if frames is not None:
            return frames
        if self._config.path is not None:
            raise StopAsyncIteration
        raise SourceError(f"{self._sender} has disconnected")

    def _mono(self, frames: FloatArray) -> FloatArray:
        samples = sanitised(frames)
        self._garbage = bool(np.mean(np.abs(frames) <= _BEYOND) < 0.5)  # NaN is beyond everything
        channel = self._config.channel
        return downmix(samples) if channel is None else pick(samples, channel)


@asynccontextmanager
async def _way(name: str, config: PcmSource, limit: int) -> AsyncIterator[Connection]:
    if config.listen is not None:
        async with _listening(name, config.listen, limit) as connection:
            yield connection
    elif config.connect is not None:
        async with _connected(config.connect, limit) as connection:
            yield connection
    else:
        async with _standard_input(limit) as connection:
            yield connection


@asynccontextmanager
async def _listening(name: str, endpoint: str, limit: int) -> AsyncIterator[Connection]:
    """Wait for a client, for ever; as long as it is there, others are turned away."""
    client: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    client = asyncio.get_running_loop().create_future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if client.done():
            _log.debug("source %s: %s is turned away: there is a sender", name, _peer(writer))
            writer.transport.abort()
        else:
            client.set_result((reader, writer))

    host, port = host_and_port(endpoint)
    try:
        server = await asyncio.start_server(connected, host, port, limit=limit)
    except OSError as error:
        raise SourceError(f"can't listen on {endpoint}: {_why(error)}; name another address") from None
    _log.info("source %s: waits for a sender on %s", name, endpoint)
    try:
        reader, writer = await client
        try:
            yield reader, _peer(writer)
        finally:
            writer.transport.abort()
    finally:
        server.close()


@asynccontextmanager
async def _connected(endpoint: str, limit: int) -> AsyncIterator[Connection]:
    host, port = host_and_port(endpoint)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=limit)
    except TimeoutError:
        raise SourceError(
            f"{endpoint} doesn't answer within {_CONNECT_SECONDS:g} s; check its address and the network"
        ) from None
    except OSError as error:
        raise SourceError(
            f"{endpoint} can't be reached: {_why(error)}; check its address, and that it listens"
        ) from None
    try:
        yield reader, endpoint
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _standard_input(limit: int) -> AsyncIterator[Connection]:
    reader = asyncio.StreamReader(limit=limit)
    file = os.fdopen(os.dup(0), "rb", buffering=0)
    mode = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        file.close()
        raise SourceError("standard input is no pipe; write  PROGRAM | sound-monitor run FILE")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    try:
        yield reader, "standard input"
    finally:
        transport.close()


def _peer(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "a sender that is gone"


def _why(error: OSError) -> str:
    # asyncio's own text repeats the address.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
