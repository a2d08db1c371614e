"""One event to one program: run it, with the event as JSON on its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import PurePath
from typing import BinaryIO

from monitor.config import CommandConfig
from monitor.errors import SinkError
from monitor.sinks.messages import event_fields, event_payload
from monitor.types import Event

_SHOWN_CHARACTERS = 200
_MOST_BYTES = 65_536
_LAST_WORDS_SECONDS = 0.5


class Command:
    """Runs the program in a process group of its own, which is killed when it takes too long.

    What it leaves at work when it ends in time goes on, and is listened to until it ends or `close`.
    """

    def __init__(self, config: CommandConfig) -> None:
        self._config = config
        self.name = PurePath(config.run[0]).name
        self._ears: set[asyncio.BaseTransport] = set()

    def close(self) -> None:
        """Listen to nobody any more."""
        for ear in self._ears:
            ear.close()

    async def tell(self, event: Event) -> None:
        """Run it for an event and wait for its end; raises SinkError where it fails."""
        # A pipe of ours: while anyone holds one of asyncio's, it takes the program for running.
        ours, theirs = os.pipe()
        ear = os.fdopen(ours, "rb", 0)
        with os.fdopen(theirs, "wb", 0) as mouth:
            _, words = await asyncio.get_running_loop().connect_read_pipe(lambda: _LastWords(self._ears), ear)
            process = await self._start(event, mouth)
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                await _give(process, event_payload(event) + b"\n")
                await process.wait()
        except TimeoutError:
            seconds = self._config.timeout_seconds
            says = (
                f"{self.name} was killed: it took over {seconds:g} s; mend it, or raise its timeout_seconds"
            )
            raise SinkError(says) from None
        finally:
            if process.returncode is None:
                await _kill(process)
        if process.returncode:
            raise SinkError(f"{self.name} failed (exit status {process.returncode}){await words.last_line()}")

    async def _start(self, event: Event, mouth: BinaryIO) -> asyncio.subprocess.Process:
        facts = {
            f"SOUND_MONITOR_{name.upper()}": str(value)
            for name, value in event_fields(event).items()
            if value is not None
        }
        try:
            return await asyncio.create_subprocess_exec(
                *self._config.run,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=mouth,
                env=os.environ | facts,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SinkError(f"{self._config.run[0]!r} can't be run: {reason}; check `run`") from None


class _LastWords(asyncio.Protocol):
    """The end of what a program says on standard error.

    The pipe is read until nobody holds it: a line into one that is closed would kill what is still at work.
    """

    def __init__(self, ears: set[asyncio.BaseTransport]) -> None:
        self._ears = ears
        self._ear: asyncio.BaseTransport | None = None
        self._said = b""
        self._over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ear = transport
        self._ears.add(transport)

    def data_received(self, data: bytes) -> None:
        self._said = (self._said + data)[-_MOST_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._ear is not None:
            self._ears.discard(self._ear)
        self._over.set()

    async def last_line(self) -> str:
        """Return it, after a colon; to be asked when the program has ended."""
        with contextlib.suppress(TimeoutError):  # what it has left at work may hold the pipe open for ever
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._over.wait()
        last = self._said.decode(errors="replace").strip().rpartition("\n")[2]
        return f": {last[:_SHOWN_CHARACTERS]}" if last else ""


async def _give(process: asyncio.subprocess.Process, text: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError
    with contextlib.suppress(ConnectionError):  # it needn't read
        process.stdin.write(text)
        await process.stdin.drain()
    process.stdin.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    # The group: what the program has started would go on.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
