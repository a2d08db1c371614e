"""The faults of a chaos run: each is injected when its context is entered and healed when it is left."""

import asyncio
import copy
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from chaos_scene import USERS
from chaos_world import World

Injection = Callable[[World, random.Random], AbstractAsyncContextManager[None]]

BROKER, SOURCE, DAEMON = "broker", "source", "daemon"


@dataclass(frozen=True)
class Fault:
    """One way in which the world breaks."""

    name: str
    lanes: tuple[str, ...]
    """What it breaks; faults of different lanes overlap."""
    hold_seconds: tuple[float, float]
    """Between injection and healing."""
    inject: Injection
    needs: str | None = None


FAULTS: list[Fault] = []


def fault(name: str, *lanes: str, hold_seconds: tuple[float, float] = (1.0, 12.0), needs: str | None = None):
    """Register an asynchronous generator that injects, yields, and heals."""

    def register(function: Callable[[World, random.Random], AsyncIterator[None]]):
        FAULTS.append(Fault(name, lanes, hold_seconds, asynccontextmanager(function), needs))
        return function

    return register


# The broker and the way there


@fault("broker killed, back with its memory", BROKER)
async def broker_killed(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.kill_broker()
    yield
    await world.restart_broker(with_memory=True)


@fault("broker killed, back without its memory", BROKER)
async def broker_without_memory(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.kill_broker()
    yield
    await world.restart_broker(with_memory=False)


@fault("broker frozen", BROKER, hold_seconds=(3.0, 20.0))
async def broker_frozen(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.broker.freeze()
    yield
    world.broker.thaw()


@fault("broker refuses the password", BROKER)
async def refused(world: World, dice: random.Random) -> AsyncIterator[None]:
    await asyncio.to_thread(world.broker.set_users, {**USERS, "monitor": "wrong"})
    await asyncio.sleep(0.2)
    world.link.cut()
    yield
    await asyncio.to_thread(world.broker.set_users, USERS)


@fault("every connection closed at once", BROKER)
async def closed_at_once(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.link.closing_at_once = True
    world.link.cut()
    yield
    world.link.closing_at_once = False


@fault("nothing listens at the broker's port", BROKER)
async def nobody_there(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.link.close()
    yield
    await world.link.open()


@fault("connection cut", BROKER, hold_seconds=(0.0, 3.0))
async def cut(world: World, dice: random.Random) -> AsyncIterator[None]:
    for _ in range(dice.randint(1, 4)):
        world.link.cut()
        await asyncio.sleep(dice.uniform(0.0, 1.5))
    yield


@fault("slow link", BROKER, hold_seconds=(4.0, 15.0))
async def slow(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.link.delay_seconds = dice.uniform(0.05, 0.5)
    yield
    world.link.delay_seconds = 0.0


@fault("frozen link", BROKER, hold_seconds=(3.0, 20.0))
async def frozen(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.link.freeze()
    yield
    world.link.thaw()


@fault("broker absent at start", BROKER, DAEMON, hold_seconds=(2.0, 8.0))
async def absent_at_start(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.stop(world.life)
    await world.kill_broker()
    await world.start()
    yield
    await world.restart_broker(with_memory=dice.random() < 0.5)


# Sources


def _shed(world: World) -> tuple[Path, Path]:
    path = world.folder / "shed.flac"
    whole = world.folder / "shed.whole"
    if not whole.exists():
        shutil.copy(path, whole)
    return path, whole


def _put_back(path: Path, whole: Path) -> None:
    fresh = path.with_suffix(".new")
    shutil.copy(whole, fresh)
    fresh.replace(path)


@fault("recording damaged", SOURCE)
async def damaged(world: World, dice: random.Random) -> AsyncIterator[None]:
    path, whole = _shed(world)
    size = whole.stat().st_size
    with path.open("r+b") as file:
        file.write(dice.randbytes(size))
    yield
    _put_back(path, whole)


@fault("recording cut off", SOURCE)
async def cut_off(world: World, dice: random.Random) -> AsyncIterator[None]:
    path, whole = _shed(world)
    with path.open("r+b") as file:
        file.truncate(dice.choice([0, 100, whole.stat().st_size // 2]))
    yield
    _put_back(path, whole)


@fault("recording removed", SOURCE)
async def removed(world: World, dice: random.Random) -> AsyncIterator[None]:
    path, whole = _shed(world)
    with path.open("r+b") as file:
        file.truncate(0)
    path.unlink()
    yield
    _put_back(path, whole)


@fault("recording ended", SOURCE, DAEMON, hold_seconds=(1.0, 4.0))
async def ended(world: World, dice: random.Random) -> AsyncIterator[None]:
    config = copy.deepcopy(world.config)
    config["sources"]["shed"] |= {"loop": False, "realtime": False}
    await _reload(world, config, "configuration reloaded")
    if not await world.until(lambda status: _source(status, "shed")["problem"] == "has ended"):
        world.ledger.problems.append("a recording that has ended isn't told as such")
    yield
    await _reload(world, world.config, "configuration reloaded")


@fault("microphone unplugged", SOURCE, needs="pulse")
async def unplugged(world: World, dice: random.Random) -> AsyncIterator[None]:
    await asyncio.to_thread(world.pulse.unplug)
    yield
    await asyncio.to_thread(world.pulse.plug_in)


@fault("microphone back under another index", SOURCE, needs="pulse")
async def another_index(world: World, dice: random.Random) -> AsyncIterator[None]:
    await asyncio.to_thread(world.pulse.unplug)
    yield
    asoundrc = Path(world.pulse.environment["HOME"]) / ".asoundrc"
    own = [line for line in asoundrc.read_text().splitlines() if "pcm.other" not in line]
    others = [
        f'pcm.other{number} {{ type null hint {{ description "other" }} }}'
        for number in range(dice.randint(0, 5))
    ]
    asoundrc.write_text("\n".join([*others, *own]) + "\n")
    await asyncio.to_thread(world.pulse.plug_in)


@fault("microphone muted to zeros", SOURCE, hold_seconds=(5.0, 12.0), needs="pulse")
async def muted(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.muted = True
    yield
    world.muted = False


@fault("sound server frozen", SOURCE, hold_seconds=(1.0, 12.0), needs="pulse")
async def sound_server_frozen(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.pulse.freeze()
    yield
    world.pulse.thaw()


# The daemon and its machine


@fault("monitor kill -9", DAEMON, hold_seconds=(0.0, 4.0))
async def killed(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.kill(world.life)
    yield
    await world.start()


@fault("monitor kill -9 just after a decision", DAEMON, hold_seconds=(0.0, 2.0))
async def killed_at_decision(world: World, dice: random.Random) -> AsyncIterator[None]:
    life = world.life
    since = len(life.lines)
    await life.logged(dice.choice([" began (", " ended after "]), since, seconds=20.0)
    await asyncio.sleep(dice.choice([0.0, dice.uniform(0.0, 0.03)]))
    await world.kill(life)
    yield
    await world.start()


@fault("monitor kill -9 while it starts", DAEMON, hold_seconds=(0.0, 1.0))
async def killed_while_starting(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.kill(world.life)
    await world.launch()
    await asyncio.sleep(dice.uniform(0.0, 6.0))
    await world.kill(world.life)
    yield
    await world.start()


@fault("SIGTERM in a phase of the start", DAEMON, hold_seconds=(0.0, 1.0))
async def stopped_while_starting(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.stop(world.life)
    for _ in range(dice.randint(1, 3)):
        life = await world.launch()
        await asyncio.sleep(dice.uniform(0.0, 7.0))
        await world.stop(life)
    yield
    await world.start()


@fault("stopped and started", DAEMON, hold_seconds=(0.0, 3.0))
async def restarted(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.stop(world.life)
    yield
    await world.start()


@fault("SIGHUP with a good file", DAEMON, hold_seconds=(1.0, 8.0))
async def good_reload(world: World, dice: random.Random) -> AsyncIterator[None]:
    await _reload(world, _variant(world.config, dice), "configuration reloaded")
    yield
    await _reload(world, world.config, "configuration reloaded")


@fault("SIGHUP with a bad file", DAEMON, hold_seconds=(0.0, 3.0))
async def bad_reload(world: World, dice: random.Random) -> AsyncIterator[None]:
    bad = copy.deepcopy(world.config)
    bad["events"]["dog"]["on_threshold"] = 7
    torn = yaml.safe_dump(world.config)
    text = dice.choice([yaml.safe_dump(bad), torn[: len(torn) // 2] + "\n  ]", "", "events: {}", "\0"])
    await _reload(world, text, "the configuration stays as it was")
    yield
    await _reload(world, world.config, "configuration reloaded")


@fault("SIGHUP many times at once", DAEMON, hold_seconds=(0.0, 1.0))
async def many_reloads(world: World, dice: random.Random) -> AsyncIterator[None]:
    for _ in range(20):
        world.write_config(dice.choice([world.config, _variant(world.config, dice), "events: 7"]))
        world.life.send(signal.SIGHUP)
        await asyncio.sleep(dice.uniform(0.0, 0.2))
    yield
    await asyncio.sleep(1.0)
    await _reload(world, world.config, "configuration reloaded")


@fault("monitor stopped for seconds", DAEMON, hold_seconds=(2.0, 14.0))
async def suspended(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.life.send(signal.SIGSTOP)
    yield
    world.life.send(signal.SIGCONT)


@fault("slower than the sound comes", DAEMON, hold_seconds=(5.0, 12.0))
async def starved(world: World, dice: random.Random) -> AsyncIterator[None]:
    life = world.life

    async def throttle() -> None:
        while life.alive:
            life.send(signal.SIGSTOP)
            await asyncio.sleep(0.095)
            life.send(signal.SIGCONT)
            await asyncio.sleep(0.005)

    throttling = asyncio.create_task(throttle())
    yield
    throttling.cancel()
    await asyncio.wait([throttling])
    life.send(signal.SIGCONT)


@fault("disk full", DAEMON, hold_seconds=(4.0, 15.0), needs="small disk")
async def disk_full(world: World, dice: random.Random) -> AsyncIterator[None]:
    ballast = world.folder / "disk" / "ballast"
    life = world.life
    since = len(life.lines)
    await asyncio.to_thread(_fill, ballast)
    yield
    ballast.unlink()
    refused = any(line["message"].startswith("outbox ") for line in life.lines[since:])
    if refused and not await life.logged("nothing waits in memory only", since, seconds=30.0):
        world.ledger.problems.append("a disk that has room again isn't used")


@fault("wall clock set", DAEMON, hold_seconds=(2.0, 10.0))
async def clock_set(world: World, dice: random.Random) -> AsyncIterator[None]:
    world.set_clock(dice.choice([-3600.0, 3600.0, -30.0, 30.0, 86_400.0 * 365]))
    yield
    world.set_clock(0.0)


@fault("page's port taken at start", DAEMON, hold_seconds=(0.0, 1.0))
async def port_taken(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.stop(world.life)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        world.write_config({**world.config, "http": {"port": port}})
        life = await world.launch()
        life.stopping = True
        status = await life.ended(60.0)
        if status != 1 or not any(str(port) in text for text in life.raw):
            world.ledger.problems.append(f"a taken port ends with {status}: {life.raw}")
    world.write_config(world.config)
    yield
    await world.start()


@fault("outbox damaged while stopped", DAEMON, hold_seconds=(0.0, 1.0))
async def outbox_damaged(world: World, dice: random.Random) -> AsyncIterator[None]:
    await world.stop(world.life)
    empty = not world.outbox_rows()  # what only a damaged file holds is lost, which isn't at stake here
    if empty:
        size = world.outbox_path.stat().st_size
        world.outbox_path.write_bytes(
            dice.choice([bytes(size), dice.randbytes(size), b"not a database" * 99])
        )
    yield
    life = await world.start()
    if empty and not any("is damaged" in line["message"] for line in life.lines):
        world.ledger.problems.append("a damaged outbox isn't told of")


@fault("none: a longer life", DAEMON)
async def peace(world: World, dice: random.Random) -> AsyncIterator[None]:
    yield


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1_000_000, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def _source(status: dict, name: str) -> dict:
    return next((each for each in status["sources"] if each["name"] == name), {"problem": None, "state": ""})


async def _reload(world: World, config: dict | str, answer: str) -> None:
    life = world.life
    since = len(life.lines)
    world.write_config(config)
    life.send(signal.SIGHUP)
    if not await life.logged(answer, since):
        world.ledger.problems.append(f"life {life.number}: no {answer!r} after SIGHUP")


def _variant(config: dict, dice: random.Random) -> dict:
    """Return another good configuration."""
    changed = copy.deepcopy(config)
    event = changed["events"][dice.choice(list(changed["events"]))]
    match dice.randrange(7):
        case 0:
            changed["events"]["baby"] = "a baby crying"
        case 1:
            del changed["events"][dice.choice(list(changed["events"]))]
        case 2:
            del changed["sources"][dice.choice(list(changed["sources"]))]
        case 3:
            event["on_threshold"] = dice.choice([0.2, 0.4, 0.5])
        case 4:
            changed["windows"] = {"window_seconds": 1, "hop_seconds": 0.25}
        case 5:
            event["prompts"] = "glass breaking"
        case 6:
            event["sources"] = ["hall"]
    return changed
