"""One event to one program: run it, with the event as JSON on its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import PurePath

from monitor.config import CommandConfig
from monitor.errors import SinkError
from monitor.sinks.messages import event_fields, event_payload
from monitor.types import Event

_SHOWN_CHARACTERS = 200
_MOST_BYTES = 65_536


class Command:
    """Runs the program in a process group of its own, which is killed when it takes too long."""

    def __init__(self, config: CommandConfig) -> None:
        self._config = config
        self.name = PurePath(config.run[0]).name

    async def tell(self, event: Event) -> None:
        """Run it for an event and wait for its end; raises SinkError where it fails."""
        facts = {
            f"SOUND_MONITOR_{name.upper()}": str(value)
            for name, value in event_fields(event).items()
            if value is not None
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._config.run,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=os.environ | facts,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SinkError(f"{self._config.run[0]!r} can't be run: {reason}; check `run`") from None
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                said = await _talk(process, event_payload(event) + b"\n")
        except TimeoutError:
            raise SinkError(
                f"{self.name} was killed: it took over {self._config.timeout_seconds:g} s (timeout_seconds)"
            ) from None
        finally:
            await _kill(process)
        if process.returncode:
            raise SinkError(f"{self.name} failed (exit status {process.returncode}){said}")


async def _talk(process: asyncio.subprocess.Process, text: bytes) -> str:
    """Give it its input, and return the last line of what it says on standard error."""
    if process.stdin is None or process.stderr is None:
        raise RuntimeError
    with contextlib.suppress(ConnectionError):  # it needn't read
        process.stdin.write(text)
        await process.stdin.drain()
    process.stdin.close()
    said = b""
    while chunk := await process.stderr.read(_MOST_BYTES):
        said = (said + chunk)[-_MOST_BYTES:]
    await process.wait()
    last = said.decode(errors="replace").strip().rpartition("\n")[2]
    return f": {last[:_SHOWN_CHARACTERS]}" if last else ""


async def _kill(process: asyncio.subprocess.Process) -> None:
    # The group: what the program has started holds the pipes open, too.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
