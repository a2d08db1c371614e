"""The world of a chaos run: broker, link, subscriber, sound, a small disk, a clock to set, and the daemon."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
import aiomqtt
import yaml
from chaos_ledger import Ledger, WireTap
from chaos_life import START_SECONDS, Life
from chaos_scene import USERS, compose, configuration
from mosquitto import Mosquitto
from mqtt_kit import Link
from pulse import Pulse, pulse_server

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 15.0
RECOVERY_SECONDS = 150.0
_DISK_BYTES = 128 * 1024 * 1024
_SAMPLE_SECONDS = 5.0


@dataclass
class World:
    """Everything there is; `open_world` makes it."""

    folder: Path
    broker: Mosquitto
    link: Link
    ledger: Ledger
    pulse: Pulse | None
    has_small_disk: bool
    config: dict
    http: aiohttp.ClientSession
    lives: list[Life] = field(default_factory=list)
    life: Life | None = None
    muted: bool = False
    states: dict[str, str] = field(default_factory=dict)
    """What the subscriber received last, by topic."""
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def config_path(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def outbox_path(self) -> Path:
        return self.folder / "disk" / "outbox.db"

    def write_config(self, config: dict | str) -> None:
        """Write the daemon's file: a configuration, or any text."""
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        self.config_path.write_text(text)

    def set_clock(self, offset_seconds: float) -> None:
        """Set the daemon's wall clock off by so much."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(struct.pack("<d", offset_seconds))

    # The daemon

    async def launch(self) -> Life:
        """Start a process, whatever becomes of it."""
        environment = dict(self.pulse.environment if self.pulse else os.environ)
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "set_clock"), str(ROOT)])
        environment["SOUND_MONITOR_TEST_CLOCK"] = str(self.folder / "clock")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "monitor", "run", str(self.config_path)),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            limit=2**20,
        )
        self.life = Life(len(self.lives), process, self.ledger, self.folder)
        self.lives.append(self.life)
        return self.life

    async def start(self) -> Life:
        """Start the daemon and wait until it listens."""
        life = await self.launch()
        if not await life.logged("listening: "):
            last = life.raw[-1:] or life.lines[-2:]
            self.ledger.problems.append(f"life {life.number} doesn't start: {last}")
        return life

    async def stop(self, life: Life, seconds: float = STOP_SECONDS) -> int | None:
        """Send SIGTERM; an end that isn't in time or isn't clean is a problem."""
        life.stopping = True
        life.send(signal.SIGTERM)
        status = await life.ended(seconds)
        if status is None:
            self.ledger.problems.append(f"life {life.number} doesn't end within {seconds} s of SIGTERM")
            await self.kill(life)
        elif status == -signal.SIGTERM and not life.lines[:-1]:
            pass  # before Python had got as far as the daemon's first line
        elif status:
            self.ledger.problems.append(f"life {life.number} ends with {status}: {life.raw[-1:]}")
        return status

    async def kill(self, life: Life) -> None:
        """End it with SIGKILL, and look at what it leaves."""
        life.stopping = True
        life.send(signal.SIGKILL)
        await life.ended(STOP_SECONDS)
        await asyncio.sleep(0.2)  # what the kernel still carries to the broker
        self.ledger.killed(life.number, {key for key, _ in self.outbox_rows()})

    def outbox_rows(self) -> list[tuple[tuple[str, str], str]]:
        """Return what waits in the outbox of a daemon that has ended: keys and sources."""
        with tempfile.TemporaryDirectory(dir=self.folder) as copy:
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(f"{self.outbox_path}{suffix}", copy)
            with contextlib.closing(sqlite3.connect(Path(copy) / "outbox.db")) as db:
                try:
                    rows = db.execute("SELECT event FROM events ORDER BY id").fetchall()
                except sqlite3.OperationalError:  # it hadn't got as far as making the table
                    rows = []
        events = [json.loads(text) for (text,) in rows]
        return [((event["id"], event["phase"]), event["source"]) for event in events]

    async def status(self) -> dict | None:
        """Ask the daemon's page; None where there is no answer."""
        if self.life is None or self.life.url is None or not self.life.alive:
            return None
        try:
            async with self.http.get(self.life.url + "status.json") as response:
                return json.loads(await response.text())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def until(self, holds: Callable[[dict], object], seconds: float = RECOVERY_SECONDS) -> bool:
        """Wait until the daemon's status satisfies; return whether it did in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = await self.status()
            if status is not None and status["encoder"] and holds(status):
                return True
            await asyncio.sleep(0.2)
        return False

    # Sound

    async def keep_playing(self) -> None:
        """Play into the virtual room for ever, unless it is muted or unplugged."""
        assert self.pulse
        while True:
            if self.muted:
                await asyncio.sleep(0.2)
                continue
            player = await asyncio.create_subprocess_exec(
                *("paplay", "--device=room", str(self.folder / "room.wav")),
                env=self.pulse.environment,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                while player.returncode is None and not self.muted:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await player.wait()
            finally:
                if player.returncode is None:
                    player.kill()
                    await player.wait()
            await asyncio.sleep(0.3)

    # Witnesses

    async def subscribe_for_ever(self) -> None:
        """Be the broker's other client: its session outlives broken connections."""
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "127.0.0.1",
                    self.broker.port,
                    username="witness",
                    password=USERS["witness"],
                    identifier="witness",
                    clean_session=False,
                    keepalive=60,
                ) as client:
                    await client.subscribe("sound-monitor/#", qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        self._receive(str(message.topic), bytes(message.payload))
            self.subscribed.clear()
            await asyncio.sleep(0.1)

    def _receive(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/event"):
            event = json.loads(payload)
            self.ledger.receive((event["id"], event["phase"]), event["source"])
        elif payload:
            self.states[topic] = payload.decode()
        else:
            self.states.pop(topic, None)

    async def watch_the_daemon(self) -> None:
        """Note memory and handles; a daemon that ends unasked is a problem, and is started again."""
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            life = self.life
            if life is None:
                continue
            if life.alive:
                life.sample()
            elif not life.stopping:
                life.stopping = True
                last = [line["message"] for line in life.lines[-3:]]
                self.ledger.problems.append(
                    f"life {life.number} ended by itself with {life.process.returncode}: {last} {life.raw}"
                )
                await self.start()

    async def restart_broker(self, *, with_memory: bool) -> None:
        """Start a broker that was killed; the daemon may come once the subscriber is there."""
        if not with_memory:
            (self.broker.folder / "mosquitto.db").unlink(missing_ok=True)
        await asyncio.to_thread(self.broker.start)
        async with asyncio.timeout(START_SECONDS):
            await self.subscribed.wait()
        await self.link.open()

    async def kill_broker(self) -> None:
        """End the broker as a crash would, and let nothing through to the next one yet."""
        began = time.monotonic()
        self.subscribed.clear()
        await asyncio.to_thread(self.broker.kill)
        await self.link.close()  # what it had acknowledged may have come through until now
        self.ledger.broker_deaths.append((began, time.monotonic()))


@contextlib.contextmanager
def _small_disk(folder: Path):
    folder.mkdir()
    size = f"size={_DISK_BYTES}"
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


class _Tasks:
    """Background work of the harness; what it raises must not be overlooked."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task] = []

    async def __aenter__(self) -> Self:
        return self

    def start(self, work) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@contextlib.asynccontextmanager
async def open_world(folder: Path, seed: int) -> AsyncIterator[World]:
    """Make it: sound, disk, clock, broker, link and subscriber; the daemon isn't started yet."""
    ledger = Ledger()
    dice = random.Random(seed)
    for name in ("hall.wav", "yard.wav", "room.wav", "shed.flac"):
        compose(folder / name, dice.randrange(2**32), dice.uniform(45.0, 75.0))
    (folder / "clock").write_bytes(struct.pack("<d", 0.0))
    (folder / "broker").mkdir()
    broker = Mosquitto(folder / "broker", users=USERS, persistent=True)
    async with contextlib.AsyncExitStack() as stack:
        has_small_disk = stack.enter_context(_small_disk(folder / "disk"))
        has_pulse = all(map(shutil.which, ("pulseaudio", "pactl", "paplay")))
        pulse = stack.enter_context(pulse_server()) if has_pulse else None
        stack.callback(broker.stop)
        link = await stack.enter_async_context(Link(broker.port, lambda: WireTap(ledger)))
        await link.close()  # the broker is absent at the first start
        timeout = aiohttp.ClientTimeout(total=5.0)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        config = configuration(folder, link.port, microphone=pulse is not None)
        world = World(folder, broker, link, ledger, pulse, has_small_disk, config, http)
        world.write_config(config)
        tasks = await stack.enter_async_context(_Tasks())
        tasks.start(world.subscribe_for_ever())
        tasks.start(world.watch_the_daemon())
        if pulse:
            tasks.start(world.keep_playing())
        try:
            yield world
        finally:
            if world.life and world.life.alive:
                world.life.send(signal.SIGKILL)
                await world.life.ended(STOP_SECONDS)
