"""The faults of a chaos run that hit the recordings, the microphone and its sound server."""

import asyncio
import copy
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from chaos_faults import DAEMON, SOURCE, Fault, into, reload
from chaos_world import World

FAULTS: list[Fault] = []
fault = into(FAULTS)


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
    await reload(world, config, "configuration reloaded")
    if not await world.until(lambda status: _source(status, "shed")["problem"] == "has ended"):
        world.ledger.problems.append("a recording that has ended isn't told as such")
    yield
    await reload(world, world.config, "configuration reloaded")


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


def _source(status: dict, name: str) -> dict:
    return next((each for each in status["sources"] if each["name"] == name), {"problem": None, "state": ""})
