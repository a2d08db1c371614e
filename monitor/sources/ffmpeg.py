"""Whatever ffmpeg reads, read by ffmpeg in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Self, cast

from monitor.config import FfmpegSource
from monitor.errors import SourceError, in_words
from monitor.pcm import sanitised
from monitor.redact import without_credentials
from monitor.sources.bursts import ReadAhead
from monitor.sources.playback import Pacer, Playback
from monitor.sources.stream import RawStream, StalledError
from monitor.sources.timeline import Now, Timeline
from monitor.types import AudioBlock, FloatArray

_BLOCK_SECONDS = 0.1
# Looking the name up, connecting, and finding out what it is that comes.
_FIRST_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_LINE_CHARACTERS = 300
# The list in the pipe may name any of these; ffmpeg allows a pipe's content none by itself.
_PROTOCOLS = (
    "pipe,file,crypto,data,http,https,httpproxy,hls,tls,tcp,udp,udplite,rtp,rtsp,rtsps,"
    "rtmp,rtmps,rtmpt,rtmpts,srt,srtp,mmsh,mmst,ftp,unix"
)
_LIMITS = {"rtsp": "timeout", "rtsps": "timeout"} | dict.fromkeys(
    ("http", "https", "tcp", "tls", "rtmp", "rtmps", "rtmpt", "rtmpts", "mmsh", "mmst", "ftp"), "rw_timeout"
)
"""The option of each protocol that limits how long a read from its socket may take."""

_log = logging.getLogger(__name__)


def command(config: FfmpegSource, rate_hz: int) -> list[str]:
    """Return how ffmpeg is called; the address is not in it, since every user can see a command line."""
    # Not `pan`, which takes a channel that isn't there for silence.
    mix = [] if config.channel is None else ["-af", f"channelmap={config.channel - 1}:mono"]
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error"),
        *("-f", "concat", "-safe", "0", "-protocol_whitelist", _PROTOCOLS, "-i", "pipe:0"),
        # By themselves, its mixes are louder than their channels.
        *("-map", "0:a:0", *mix, "-ac", "1", "-rematrix_maxval", "1", "-ar", str(rate_hz)),
        *("-f", "f32le", "-flush_packets", "1", "pipe:1"),
    ]


def script(config: FfmpegSource) -> str:
    """Return what ffmpeg reads from its standard input: the address and how to reach it, as a list of one."""
    options: dict[str, str | float] = {}
    protocol = config.url.partition("://")[0].lower()
    if protocol in _LIMITS and not {"timeout", "stimeout", "rw_timeout"} & set(config.options):
        options[_LIMITS[protocol]] = round(config.stall_seconds * 1e6)
    if protocol in {"rtsp", "rtsps"}:
        # Over UDP a lost packet is lost sound, and a firewall in between is silence without an error.
        options["rtsp_transport"] = "tcp"
    address = config.url if "://" in config.url else f"file:{config.url}"
    lines = [f"option {name} {_quoted(str(value))}" for name, value in (options | config.options).items()]
    return "\n".join(["ffconcat version 1.0", f"file {_quoted(address)}", *lines, ""])


def _quoted(text: str) -> str:
    escaped = text.replace("'", r"'\''")
    return f"'{escaped}'"


class Ffmpeg:
    """Yields what ffmpeg decodes, as mono at rate_hz; needs ffmpeg 5.0 or newer.

    Live sound that stalls or ends is a SourceError; its samples are dated by when they come, which is right
    to half a second beside the network's delay. A recording comes at its own pace, and ends.
    """

    problem: str | None = None
    overflows: int = 0

    def __init__(
        self, name: str, config: FfmpegSource, rate_hz: int, now: Callable[[], Now] = Now.read
    ) -> None:
        self.name = name
        self._config = config
        self._rate_hz = rate_hz
        self._now = now
        self._shown = repr(without_credentials(config.url))

    async def __aenter__(self) -> Self:
        config, block_frames = self._config, round(_BLOCK_SECONDS * self._rate_hz)
        self._process = await self._start(command(config, self._rate_hz), limit=4 * block_frames)
        self._stdout = cast("asyncio.StreamReader", self._process.stdout)
        self._said: deque[str] = deque(maxlen=8)
        self._stream = RawStream(
            self._stdout,
            "f32le",
            1,
            block_frames,
            first_seconds=max(_FIRST_SECONDS, config.stall_seconds),
            stall_seconds=config.stall_seconds,
        )
        self._talking = asyncio.create_task(self._talk(), name=f"ffmpeg of {self.name}")
        self._timeline = Timeline(self.name, self._rate_hz, self._rate_hz, drop_early=True)
        self._playback = Playback(self.name, self._rate_hz, time.time(), Pacer())
        self._ahead = ReadAhead(self._dated) if config.is_live else None
        return self

    async def _start(self, arguments: list[str], limit: int) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=limit,
                # Ctrl-C in a terminal is for the monitor, which ends its sources in order.
                start_new_session=True,
            )
        except FileNotFoundError:
            raise SourceError("ffmpeg is not installed: apt install ffmpeg") from None
        except OSError as error:
            raise SourceError(f"ffmpeg can't be started: {in_words(error)}") from None

    async def _talk(self) -> None:
        """Tell ffmpeg what to read, and keep the last lines that it has to say about it."""
        stdin = cast("asyncio.StreamWriter", self._process.stdin)
        stderr = cast("asyncio.StreamReader", self._process.stderr)
        with contextlib.suppress(ConnectionError):  # it has ended: what it says tells why
            stdin.write(script(self._config).encode())
            stdin.close()
            await stdin.wait_closed()
        rest = ""
        while data := await stderr.read(4096):
            *lines, rest = re.split(r"[\r\n]+", rest + data.decode(errors="replace"))
            rest = rest[-_LINE_CHARACTERS:]
            for line in filter(None, map(str.strip, lines)):
                said = without_credentials(line)[:_LINE_CHARACTERS]
                _log.debug("source %s: ffmpeg: %s", self.name, said)
                self._said.append(said)
        if rest.strip():
            self._said.append(without_credentials(rest.strip()))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._ahead is not None:
                await self._ahead.close()
            for end in (self._process.terminate, self._process.kill):
                with contextlib.suppress(ProcessLookupError):
                    end()
                if await self._has_ended():
                    return
            _log.warning("source %s: ffmpeg (process %d) can't be ended", self.name, self._process.pid)
        finally:
            if self._process.returncode is None:
                self._process.kill()
            self._talking.cancel()

    async def _has_ended(self) -> bool:
        """Wait for the process, a short while; a full pipe would keep it from ending."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while await self._stdout.read(65_536):
                    pass
                await asyncio.gather(self._process.wait(), self._talking)
        except TimeoutError:
            return False
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioBlock:
        if self._ahead is not None:
            return await self._ahead.next()
        return await self._playback.block(await self._samples(), gap=False)

    async def _dated(self) -> list[AudioBlock]:
        samples, now = await self._samples(), self._now()
        return self._timeline.push(samples, captured_at=now.monotonic, now=now)

    async def _samples(self) -> FloatArray:
        try:
            frames = await self._stream.read()
        except StalledError as error:
            raise SourceError(
                f"{self._shown} gave no sound for {error.args[0]:g} s{self._reason()}"
            ) from None
        return await self._end() if frames is None else sanitised(frames[:, 0])

    async def _end(self) -> NoReturn:
        """Tell a recording's end from a failure."""
        well = await self._has_ended() and self._process.returncode == 0
        if well and not self._config.is_live:
            raise StopAsyncIteration
        if well and not self._said:
            remedy = "; for a recording, write  live: false" if self._config.url.startswith("http") else ""
            raise SourceError(f"{self._shown} has ended{remedy}")
        raise SourceError(f"ffmpeg can't read {self._shown}{self._reason()}")

    def _reason(self) -> str:
        """Return what ffmpeg said last, to go on with after the address; nothing where it said nothing."""
        said = " ".join(self._said)
        if "unknown keyword 'option'" in said:
            return ": this ffmpeg is older than 5.0; install a newer one"
        if "matches no streams" in said:
            return ": it holds no sound"
        if "not available from input layout" in said:
            return f": it has no channel {self._config.channel}"
        return f": {self._said[-1].removeprefix('pipe:0: ')}" if self._said else ""
