"""A system clock that is set: live sound goes on being told, whatever ended by the old time."""

import asyncio
import contextlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from daemon import daemon
from mosquitto import free_port

from monitor.config import Config
from monitor.detection import Detector
from monitor.types import Phase, Scores

RATE_HZ = 16_000
HOP, WINDOW = 0.5, 2.0


def detector(**rule):
    config = Config.model_validate(
        {
            "sources": {"room": {"type": "demo"}},
            "events": {"dog": {"prompts": "a dog", "on_threshold": 0.5, **rule}},
            "smoothing": {"method": "none"},
        }
    )
    ids = map(str, range(100))
    return Detector("room", config, lambda: next(ids))


def heard(made, ends, score):
    values = np.array([score], np.float32)
    return [
        event
        for end in ends
        for event in made.process(Scores("room", float(end) - WINDOW, float(end), -20.0, values))
    ]


@pytest.mark.parametrize("cooldown_seconds", [0.0, 600.0])
def test_a_clock_set_back_makes_no_event_deaf(cooldown_seconds):
    made = detector(cooldown_seconds=cooldown_seconds)
    times = 10_000.0 + HOP * np.arange(10)
    assert [event.phase for event in heard(made, times[:5], 0.9)] == [Phase.START]
    assert [event.phase for event in heard(made, times[5:], 0.0)] == [Phase.END]
    (again,) = heard(made, times[:5] - 3600.0, 0.9)
    assert again.phase is Phase.START
    assert abs(again.started_at - (times[0] - 3600.0)) < 2 * WINDOW, "dated by the new time"


def test_what_lasts_when_the_clock_is_set_back_has_its_end():
    made = detector()
    (began,) = heard(made, [10_000.0], 0.9)
    ended, again = heard(made, [6_400.0], 0.9)
    assert (ended.id, ended.phase, again.phase) == (began.id, Phase.END, Phase.START)
    assert ended.ended_at >= began.started_at


def test_times_that_jitter_leave_the_cooldown_as_it_is():
    made = detector(cooldown_seconds=600.0)
    heard(made, [10_000.0], 0.9)
    heard(made, [10_000.5], 0.0)
    assert heard(made, [9_999.0, 10_010.0], 0.9) == []


async def closed(writer):
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def bangs(port, closing):
    """Deliver near silence and noise in turns, 2 s each, in real time; connect again when lost."""
    rng = np.random.default_rng(0)
    block = 0.1
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            closing.push_async_callback(closed, writer)
            loop = asyncio.get_running_loop()
            begin = loop.time()
            for number in range(10_000):
                level = 6000 if number * block % 4 >= 2 else 5
                noise = rng.standard_normal(round(block * RATE_HZ)) * level
                writer.write(noise.clip(-32_767, 32_767).astype("<i2").tobytes())
                await writer.drain()
                await asyncio.sleep(max(0.0, begin + (number + 1) * block - loop.time()))
        await asyncio.sleep(0.1)


@pytest.mark.real
@pytest.mark.timeout(120)
async def test_a_live_source_is_told_on_when_the_clock_is_set_back_an_hour(tmp_path):
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("<d", 0.0))
    port = free_port()
    config = {
        "sources": {"shed": {"type": "pcm", "listen": port, "rate_hz": RATE_HZ}},
        "events": {"bang": {"level": {"above_dbfs": -30}}},
        "mqtt": None,
    }
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent / "set_clock"),
        "SOUND_MONITOR_TEST_CLOCK": str(clock),
    }
    async with contextlib.AsyncExitStack() as closing, daemon(tmp_path, config, environment) as running:
        playing = asyncio.create_task(bangs(port, closing))
        await running.logged("shed: bang began")
        await running.logged("shed: bang ended")
        with clock.open("r+b") as file:  # truncated, it would be a SIGBUS for who has it mapped
            file.write(struct.pack("<d", -3600.0))
        since = len(running.log)
        await running.logged("the system clock was set by -3600", since=since)
        since = len(running.log)
        await running.logged("shed: bang began", since=since)
        await running.logged("shed: bang ended", since=since)
        playing.cancel()
        await asyncio.wait([playing])
        assert await running.stop() == 0
