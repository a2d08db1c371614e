"""The daemon as users run it: a process of its own, with its log, its port and its events."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import aiomqtt
import yaml

START_SECONDS = 60.0


class Daemon:
    """A running `sound-monitor run`."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path) -> None:
        self.process = process
        self.config = config
        self.log: list[str] = []
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._news:
                self.log.append(line.decode().rstrip())
                self._news.notify_all()
        async with self._news:
            self.log.append("(end of the log)")
            self._news.notify_all()

    async def logged(self, pattern: str, seconds: float = START_SECONDS, since: int = 0) -> str:
        """Wait until a line of the log matches, and return it."""

        def found() -> Iterator[str]:
            return (line for line in self.log[since:] if re.search(pattern, line))

        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(
                    lambda: next(found(), None) or self.log[-1:] == ["(end of the log)"]
                )
        except TimeoutError:
            pass
        line = next(found(), None)
        assert line is not None, f"nothing like {pattern!r} in:\n" + "\n".join(self.log)
        return line

    async def url(self) -> str:
        line = await self.logged(r"page and metrics at (http\S+)")
        return line.rsplit(" ", 1)[1]

    async def get(self, path: str) -> tuple[int, str]:
        url = await self.url() + path
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

    async def status(self) -> dict:
        return json.loads((await self.get("status.json"))[1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def stop(self, seconds: float = 20.0) -> int:
        """Send SIGTERM and return the exit status."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.ended(seconds)

    async def ended(self, seconds: float = 20.0) -> int:
        async with asyncio.timeout(seconds):
            status = await self.process.wait()
            await self._reader
        return status

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader


@asynccontextmanager
async def daemon(
    folder: Path,
    config: dict,
    environment: dict[str, str] | None = None,
    program: tuple[str, ...] = ("-m", "monitor", "run"),
    arguments: tuple[str, ...] = (),
):
    """Run the daemon on a configuration, its state below `folder`; killed at the end if it still runs."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"http": {"port": 0}, "state_directory": str(folder / "state"), **config}))
    environment = dict(environment or os.environ)
    own = [environment["PYTHONPATH"]] if "PYTHONPATH" in environment else []
    environment["PYTHONPATH"] = os.pathsep.join([*own, str(Path(__file__).parent.parent)])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, str(path), *arguments),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
    )
    running = Daemon(process, path)
    try:
        yield running
    finally:
        await running.close()


class Subscriber:
    """Everything that a broker delivers, in order."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self._news = asyncio.Condition()

    async def _read(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            async with self._news:
                self.messages.append((str(message.topic), message.payload.decode(), bool(message.retain)))
                self._news.notify_all()

    async def until(self, holds: Callable[[], object], seconds: float = 30.0) -> None:
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(holds)
        except TimeoutError:
            lines = "\n".join(f"{topic} {payload}" for topic, payload, _ in self.messages)
            raise AssertionError(f"not within {seconds} s; received:\n{lines}") from None

    def events(self) -> list[dict]:
        """All starts and ends so far."""
        return [json.loads(payload) for topic, payload, _ in self.messages if topic.endswith("/event")]

    def last(self, topic: str) -> str | None:
        """The newest payload at a topic."""
        return next((payload for at, payload, _ in reversed(self.messages) if at == topic), None)


@asynccontextmanager
async def subscriber(port: int, topics: str = "sound-monitor/#"):
    """Listen to a broker on loopback."""
    received = Subscriber()
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topics, qos=1)
        reading = asyncio.create_task(received._read(client))
        try:
            yield received
        finally:
            reading.cancel()
