"""Whether every source opens and delivers sound."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from monitor.config import Config, FileSource, MicrophoneSource, PcmSource, SourceConfig
from monitor.doctor.doors import heard_by_a_monitor
from monitor.doctor.finding import Finding, Verdict, failed, warned, worked
from monitor.errors import SourceError
from monitor.pcm import level_dbfs
from monitor.sources import open_source
from monitor.sources.sharing import Captures

_RATE_HZ = 48_000
_LISTEN_SECONDS = 2.0
_PATIENCE_SECONDS = 20.0
_AT_ONCE = 8
_QUIET_DBFS = -90.0
_CLIPPED = 0.999
_DEVICES = Path("/dev/snd")


def look_at_sound_cards(config: Config, devices: Path = _DEVICES) -> Iterator[Finding]:
    """Tell whether this user may open the sound cards, where a microphone is wanted."""
    if not any(isinstance(source, MicrophoneSource) for source in config.sources.values()):
        return
    inputs = sorted(devices.glob("pcm*c"))
    closed = [each.name for each in inputs if not os.access(each, os.R_OK | os.W_OK)]
    if closed:
        yield failed(
            "sound cards",
            f"this user may not open {', '.join(closed)}; add it to the group audio (sudo usermod -aG audio "
            "USER, then log in anew), or use the systemd unit",
        )
    elif inputs:
        yield worked("sound cards", f"{len(inputs)} inputs of ALSA, open to this user")
    else:
        yield warned(
            "sound cards", "no card has an input; plug one in, unless a sound server brings the microphone"
        )


async def look_at_sources(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Open every source, several at a time, and listen for a moment."""
    gate, captures = asyncio.Semaphore(_AT_ONCE), Captures()
    held = await asyncio.to_thread(heard_by_a_monitor, config.http, environ)

    async def look(name: str, source: SourceConfig) -> Finding:
        # Microphones all at once: a device that several listen to is opened once, with the channels of all.
        async with nullcontext() if isinstance(source, MicrophoneSource) else gate:
            finding = await _look_at(name, source, captures)
        if finding.verdict is Verdict.FAILED and name in held:
            return worked(finding.about, "is taken by the monitor that runs, which hears it")
        return finding

    async with asyncio.TaskGroup() as group:
        looking = [group.create_task(look(name, source)) for name, source in config.sources.items()]
        for task in looking:
            yield await task


async def _look_at(name: str, config: SourceConfig, captures: Captures) -> Finding:
    about = f"source {name}"
    if isinstance(config, PcmSource) and config.path is not None:
        return worked(about, "is standard input, which can be tried by running only")
    waits = isinstance(config, PcmSource) and config.listen is not None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            samples, began, problem = await _heard(name, config, captures)
    except SourceError as error:
        return failed(about, str(error))
    except TimeoutError:
        if waits:
            return warned(about, "the port opens, but nobody sends now; start the sender")
        return failed(about, f"delivered no sound within {_PATIENCE_SECONDS:g} s; is it there and on?")
    return _judged(about, config, samples, began, problem)


async def _heard(name: str, config: SourceConfig, captures: Captures) -> tuple[np.ndarray, float, str | None]:
    """Return some seconds of sound, the seconds until it began, and what the source says of it."""
    started = time.monotonic()
    began, blocks, samples = 0.0, [], 0
    async with open_source(name, config, _RATE_HZ, captures) as source:
        async for block in source:
            began = began or time.monotonic() - started
            blocks.append(block.samples)
            samples += len(block.samples)
            if samples >= _LISTEN_SECONDS * _RATE_HZ:
                break
        return np.concatenate([*blocks, np.zeros(0, np.float32)]), began, source.problem


def _judged(
    about: str, config: SourceConfig, samples: np.ndarray, began: float, problem: str | None
) -> Finding:
    if problem is not None or not samples.size:
        return failed(about, problem or "opens, but holds no sound; name another")
    level, is_file = level_dbfs(samples), isinstance(config, FileSource)
    heard = f"delivers sound after {began:.1f} s, at {level:.1f} dBFS"
    if is_file:
        return worked(about, heard if np.ptp(samples) else "opens; it begins with silence")
    if not np.ptp(samples):
        says = "delivers one and the same value; is it muted (alsamixer), the wrong input, or unplugged?"
        return failed(about, says)
    if np.abs(samples).max() >= _CLIPPED:
        return warned(about, f"{heard}, but overdriven; turn its level down (alsamixer, or gain_db)")
    if level < _QUIET_DBFS:
        return warned(about, f"{heard}, hardly any; turn its level up (alsamixer), or name another input")
    return worked(about, heard)
