"""The faults of a chaos run that hit the broker and the way there."""

import asyncio
import random
from collections.abc import AsyncIterator

from chaos_faults import BROKER, DAEMON, Fault, into
from chaos_scene import USERS
from chaos_world import World

FAULTS: list[Fault] = []
fault = into(FAULTS)


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
