"""Sound in bursts: taken as it comes, let out evenly, in order and to its end."""

import asyncio
import sys
import time

import numpy as np
import pytest

from monitor.config import FfmpegSource
from monitor.errors import SourceError
from monitor.sources import open_source
from monitor.sources.bursts import ReadAhead
from monitor.types import AudioBlock

RATE = 1000


def block(number):
    samples = np.zeros(RATE // 10, np.float32)
    return AudioBlock("radio", number * len(samples), RATE, samples, number / 10)


class Radio:
    """Sends at times that are its own; sleeping passes the time at once."""

    def __init__(self, arrivals):
        self.now = 0.0
        self.read = 0
        self._arrivals = arrivals
        self._passed = asyncio.Event()

    async def blocks(self):
        if self.read == len(self._arrivals):
            raise SourceError("gone")
        while self.now < self._arrivals[self.read]:
            self._passed.clear()
            await self._passed.wait()
        self.read += 1
        return [block(self.read - 1)]

    def pass_to(self, seconds):
        self.now = max(self.now, seconds)
        self._passed.set()

    async def sleep(self, seconds):
        self.pass_to(self.now + seconds)
        await asyncio.sleep(0)

    def ahead(self):
        return ReadAhead(self.blocks, monotonic=lambda: self.now, sleep=self.sleep)


async def test_a_burst_is_taken_at_once_and_let_out_four_times_as_fast_as_time():
    radio = Radio([0.0] * 60)
    ahead = radio.ahead()
    times = []
    for number in range(60):
        assert (await ahead.next()).position == number * RATE // 10
        times.append(radio.now)
        assert radio.read == 60
    assert times == pytest.approx([number / 40 for number in range(60)])
    with pytest.raises(SourceError, match="gone"):
        await ahead.next()
    await ahead.close()


async def test_what_comes_steadily_is_let_out_as_it_comes_also_after_a_burst():
    arrivals = [0.0] * 4 + [0.2 + number / 10 for number in range(20)]
    radio = Radio(arrivals)
    ahead = radio.ahead()
    times = []
    for arrival in arrivals:
        radio.pass_to(arrival)
        await ahead.next()
        times.append(radio.now)
    assert times[4:] == pytest.approx(arrivals[4:])
    await ahead.close()


async def test_what_nobody_takes_is_not_read_for_ever():
    radio = Radio([0.0] * 1000)
    ahead = radio.ahead()
    await ahead.next()
    for _ in range(20):
        await asyncio.sleep(0)
    assert radio.read <= 302
    await ahead.close()


@pytest.mark.real
async def test_a_stream_s_burst_is_dated_by_when_it_came_and_let_out_evenly(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, time\n"
        "for seconds in (0.1, 1.0):\n"
        f"    sys.stdout.buffer.write(bytes(round({4 * RATE} * seconds)))\n"
        "    sys.stdout.flush()\n"
        "    time.sleep(1.0)\n"
        "time.sleep(60)\n"
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with open_source("radio", FfmpegSource(type="ffmpeg", url="http://radio/live"), RATE) as source:
        blocks = [await anext(source), await anext(source)]
        began = time.monotonic()
        blocks += [await anext(source) for _ in range(9)]
        assert time.monotonic() - began >= 9 / 40 - 0.005
    assert not any(block.gap for block in blocks)
    times = [block.start_time - blocks[0].start_time for block in blocks]
    assert times == pytest.approx([number / 10 for number in range(11)], abs=0.01)
