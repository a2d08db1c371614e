"""What a fault of a chaos run is: injected when its context is entered and healed when it is left."""

import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

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


def into(faults: list[Fault]):
    """Return a decorator that adds a fault: an asynchronous generator that injects, yields, and heals."""

    def fault(
        name: str, *lanes: str, hold_seconds: tuple[float, float] = (1.0, 12.0), needs: str | None = None
    ):
        def register(function: Callable[[World, random.Random], AsyncIterator[None]]):
            faults.append(Fault(name, lanes, hold_seconds, asynccontextmanager(function), needs))
            return function

        return register

    return fault


async def reload(world: World, config: dict | str, answer: str) -> None:
    """Give the daemon a file and wait for its answer."""
    life = world.life
    since = len(life.lines)
    world.write_config(config)
    life.send(signal.SIGHUP)
    if not await life.logged(answer, since):
        world.ledger.problems.append(f"life {life.number}: no {answer!r} after SIGHUP")
