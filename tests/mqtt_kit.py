"""What the MQTT tests share: a broker, a receiver of another make, a link that fails on demand, a tally."""

import asyncio
import contextlib
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import pytest
from mosquitto import Mosquitto, free_port, mosquitto

from monitor.config import MqttConfig
from monitor.outbox import Outbox
from monitor.sinks.mqtt import MqttSink
from monitor.types import Event, Phase, Reason

PREFIX = "sound-monitor"
FAST = {"answer_seconds": 1.0, "retry_seconds": (0.05, 0.2), "environ": {}}
"""A sink that waits for nothing as long as users would."""


def an_event(number: int, source: str = "hall", name: str = "dog_bark", phase: Phase = Phase.START) -> Event:
    """Return one of a row of events, with an id that tells its place."""
    ended_at = 1_700_000_009.0 + number if phase is Phase.END else None
    started_at = 1_700_000_000.0 + number
    return Event(
        *(f"{source}-{number}", source, name, phase, started_at, ended_at, 0.75, 0.5, Reason.THRESHOLD),
    )


async def until(condition: Callable[[], object], timeout_seconds: float = 20.0) -> None:
    """Wait for something that can only be polled."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """Have a folder whose files need no disk, for outboxes of which much is asked."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@contextlib.asynccontextmanager
async def running(sink: MqttSink, *, stop_seconds: float = 5.0) -> AsyncIterator[MqttSink]:
    """Have the sink at work, and stop it in order at the end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(sink.run())
        await asyncio.sleep(0)
        try:
            yield sink
        finally:
            await sink.stop(stop_seconds)


async def delivered(outbox: Outbox, timeout_seconds: float = 30.0) -> None:
    """Wait until the broker has acknowledged every event."""
    await until(lambda: not outbox.backlog.pending, timeout_seconds)


class Receiver:
    """mosquitto_sub, listening to everything; a context manager."""

    def __init__(self, broker: Mosquitto, *options: str, topic: str = "#") -> None:
        self._broker = broker
        self._id = f"receiver-{time.monotonic_ns()}"
        self._command = ["mosquitto_sub", "-p", str(broker.port), "-q", "1", "-t", topic, "-i", self._id]
        self._command += ["-F", "%r %t %p", *options]
        self.messages: list[tuple[str, str, bool]] = []
        """Topic, payload, whether it came as a retained message."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        self._reading = asyncio.create_task(self._read())
        await until(lambda: f"Sending SUBACK to {self._id}" in self._broker.log)
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            retained, topic, *payload = line.decode().rstrip("\n").split(" ", 2)
            self.messages.append((topic, payload[0] if payload else "", retained == "1"))

    @property
    def events(self) -> list[dict]:
        """The event messages, parsed."""
        return [json.loads(payload) for topic, payload, _ in self.messages if topic.endswith("/event")]

    def last(self, topic: str) -> str | None:
        """Return the newest payload at a topic below the prefix."""
        return next((p for t, p, _ in reversed(self.messages) if t == f"{PREFIX}/{topic}"), None)


async def retained(broker: Mosquitto, *options: str) -> dict[str, str]:
    """Return what a late subscriber finds, by topic below the prefix."""
    marker = f"marker-{time.monotonic_ns()}"
    async with Receiver(broker, *options) as receiver:
        command = ("mosquitto_pub", "-p", str(broker.port), "-t", marker, "-m", "after all retained ones")
        await (await asyncio.create_subprocess_exec(*command, *options)).wait()
        await until(lambda: any(topic == marker for topic, _, _ in receiver.messages))
        return {
            topic.removeprefix(f"{PREFIX}/"): payload
            for topic, payload, is_retained in receiver.messages
            if is_retained
        }


class Tap(Protocol):
    """Sees what passes through one connection of a link."""

    def upward(self, data: bytes) -> None: ...

    def downward(self, data: bytes) -> None: ...


class Link:
    """A TCP relay to a broker that can be absent, close at once, be cut, be slow, or let nothing pass."""

    def __init__(self, target_port: int, new_tap: Callable[[], Tap] | None = None) -> None:
        self._target_port = target_port
        self._new_tap = new_tap
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = free_port()
        self.closing_at_once = False
        self.delay_seconds = 0.0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuse connections, and cut those there are."""
        if self._server:
            self._server.close()
        self.cut()
        await until(lambda: not self._writers)

    def freeze(self) -> None:
        """Let nothing pass, though connections stay."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let pass what was held back."""
        self._flowing.set()

    def cut(self) -> None:
        """Break the connections there are."""
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closing_at_once:
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        tap = self._new_tap() if self._new_tap else None
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, tap and tap.upward),
                self._pump(far_reader, writer, tap and tap.downward),
            )
        finally:
            self._writers -= {writer, far_writer}

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        see: Callable[[bytes], None] | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                await self._flowing.wait()
                if see:
                    see(data)
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Tally:
    """What became of the events of one trial."""

    fault: str
    injected: int = 0
    put: list[str] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    recovery_seconds: float = 0.0

    def receive(self, receiver: Receiver) -> None:
        """Add what a receiver got."""
        self.got += [f"{event['id']}/{event['phase']}" for event in receiver.events]

    def check(self) -> None:
        """Nothing lost, nothing invented, first deliveries in order; prints its row."""
        first = list(dict.fromkeys(self.got))
        lost = [name for name in self.put if name not in set(first)]
        invented = [name for name in first if name not in set(self.put)]
        duplicates = len(self.got) - len(first)
        print(  # noqa: T201
            f"\n| {self.fault} | {self.injected} | {len(self.put)} | {len(first)} | {duplicates} "
            f"| {len(lost)} | {len(invented)} | {self.recovery_seconds:.2f} |"
        )
        assert not lost
        assert not invented
        assert first == self.put


def names(events: Sequence[Event]) -> list[str]:
    """Return how a tally names events."""
    return [f"{event.id}/{event.phase}" for event in events]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as it:
        yield it


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with Outbox(tmp_path / "outbox.db") as it:
        yield it


def config_for(broker: Mosquitto, /, **settings: object) -> MqttConfig:
    return MqttConfig(**{"broker": "127.0.0.1", "port": broker.port, **settings})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a user would be warned of, without the pause at its end."""
    records = (record for record in caplog.records if record.levelno >= logging.WARNING)
    return [record.getMessage().split(" (trying")[0] for record in records]
