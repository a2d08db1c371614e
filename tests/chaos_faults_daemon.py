"""The faults of a chaos run that hit the daemon itself and its machine."""

import asyncio
import copy
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import yaml
from chaos_faults import DAEMON, Fault, into, reload
from chaos_world import World

FAULTS: list[Fault] = []
fault = into(FAULTS)


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
    await reload(world, _variant(world.config, dice), "configuration reloaded")
    yield
    await reload(world, world.config, "configuration reloaded")


@fault("SIGHUP with a bad file", DAEMON, hold_seconds=(0.0, 3.0))
async def bad_reload(world: World, dice: random.Random) -> AsyncIterator[None]:
    bad = copy.deepcopy(world.config)
    bad["events"]["dog"]["on_threshold"] = 7
    torn = yaml.safe_dump(world.config)
    text = dice.choice([yaml.safe_dump(bad), torn[: len(torn) // 2] + "\n  ]", "", "events: {}", "\0"])
    await reload(world, text, "the configuration stays as it was")
    yield
    await reload(world, world.config, "configuration reloaded")


@fault("SIGHUP many times at once", DAEMON, hold_seconds=(0.0, 1.0))
async def many_reloads(world: World, dice: random.Random) -> AsyncIterator[None]:
    for _ in range(20):
        world.write_config(dice.choice([world.config, _variant(world.config, dice), "events: 7"]))
        world.life.send(signal.SIGHUP)
        await asyncio.sleep(dice.uniform(0.0, 0.2))
    yield
    await asyncio.sleep(1.0)
    await reload(world, world.config, "configuration reloaded")


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
