"""Dating samples: drift is slewed, losses are found, time never goes back, set clocks are noticed."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import SourceError
from monitor.sources.clock import SLEW, SampleClock
from monitor.sources.playback import Pacer, Playback
from monitor.sources.timeline import Now, Timeline

RATE = 48_000
BLOCK = 2_400
WALL = 1_750_000_000.0


class Device:
    """A sound card with a crystal of its own, heard late by what `delay` says, on clocks that may be set."""

    def __init__(self, ppm=0.0, delay=lambda _: 0.0):
        self.rate = RATE * (1 + ppm * 1e-6)
        self.delay = delay
        self.elapsed = 0.0
        self.set_by = 0.0

    def block(self, count=BLOCK):
        """Let the time of a block pass; return the monotonic time at which it arrives."""
        self.elapsed += count / self.rate
        return 1_000.0 + self.elapsed + self.delay(self.elapsed)

    def now(self, monotonic):
        return Now(WALL - 1_000.0 + self.set_by + monotonic, monotonic)


def push(timeline, device, count=BLOCK, **facts):
    arrived = device.block(count)
    samples = np.zeros(count, np.float32)
    return list(timeline.push(samples, captured_at=arrived, now=device.now(arrived), **facts))


def run(device, seconds, timeline):
    blocks = []
    while device.elapsed < seconds:
        blocks += push(timeline, device)
    return blocks


class TestDrift:
    @pytest.mark.parametrize("ppm", [-300, 0, 300])
    def test_a_crystal_s_drift_is_followed(self, ppm):
        jitter = np.random.default_rng(0)
        device = Device(ppm, lambda _: jitter.exponential(0.02))
        last = run(device, 3_600.0, Timeline("mic", RATE, RATE))[-1]
        end = last.start_time + len(last.samples) / RATE
        # Without correction an hour would be off by 1.08 s at 300 ppm.
        assert abs(end - (WALL + device.elapsed)) < 0.02

    def test_a_late_first_block_is_made_good_slowly(self):
        device = Device(delay=lambda at: 0.3 if at < 0.06 else 0.0)
        timeline = Timeline("mic", RATE, RATE)
        blocks = run(device, 700.0, timeline)
        assert blocks[0].start_time == pytest.approx(WALL + 0.3, abs=0.01)
        assert blocks[-1].start_time == pytest.approx(WALL + device.elapsed - 0.05, abs=0.01)
        steps = np.diff([block.start_time for block in blocks])
        assert np.abs(steps - 0.05).max() <= 2 * SLEW * 0.05 + 1e-6
        assert not any(block.gap for block in blocks)

    def test_a_small_change_of_the_wall_clock_is_slewed_in(self):
        device, timeline = Device(), Timeline("mic", RATE, RATE)
        run(device, 20.0, timeline)
        device.set_by = -1.0
        blocks = run(device, 2_100.0, timeline)
        assert blocks[-1].start_time == pytest.approx(WALL + device.elapsed - 0.05 - 1.0, abs=0.01)
        assert min(np.diff([block.start_time for block in blocks])) > 0.049

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_time_and_position_never_go_back(self, data):
        delays = st.floats(0.0, 3.0)
        device = Device(data.draw(st.floats(-2_000, 2_000)))
        timeline = Timeline("mic", RATE, data.draw(st.sampled_from([RATE, 16_000, 44_100])))
        blocks = []
        for _ in range(data.draw(st.integers(1, 60))):
            late = data.draw(delays)
            device.delay = lambda _, late=late: late
            if data.draw(st.booleans()):
                device.set_by += data.draw(st.floats(-0.1, 0.1))
            count = data.draw(st.integers(960, 24_000))
            blocks += push(
                timeline,
                device,
                count,
                lost=data.draw(st.sampled_from([0, 0, 0, 999])),
                torn=data.draw(st.booleans()),
            )
        for before, after in pairwise(blocks):
            end = before.position + len(before.samples)
            assert after.position >= end
            assert after.gap or after.position == end
            assert after.start_time > before.start_time


class TestLoss:
    def test_frames_known_to_be_lost_leave_a_marked_gap_of_their_length(self):
        device, timeline = Device(), Timeline("mic", RATE, RATE)
        push(timeline, device)
        device.block(4_800)
        (block,) = push(timeline, device, lost=4_800)
        assert (block.position, block.gap) == (BLOCK + 4_800, True)
        assert block.start_time == pytest.approx(WALL + 0.15, abs=1e-3)
        (block,) = push(timeline, device)
        assert not block.gap

    def test_what_was_resampled_before_a_gap_is_not_lost(self):
        device, timeline = Device(), Timeline("mic", 44_100, 16_000)
        before = [block for _ in range(7) for block in push(timeline, device, 2_205)]
        torn = push(timeline, device, 2_205, torn=True)
        tail = torn[0]
        assert not tail.gap
        assert tail.position + len(tail.samples) == round(7 * 2_205 * 16_000 / 44_100)
        assert sum(len(block.samples) for block in [*before, tail]) == round(7 * 2_205 * 16_000 / 44_100)
        after = torn[1:] + [block for _ in range(3) for block in push(timeline, device, 2_205)]
        assert [block.gap for block in after] == [True] + [False] * (len(after) - 1)

    def test_samples_that_vanish_silently_are_missed(self):
        device, timeline = Device(), Timeline("mic", RATE, RATE)
        run(device, 30.0, timeline)
        device.block(3 * RATE)
        blocks = run(device, 40.0, timeline)
        (gap,) = [block for block in blocks if block.gap]
        assert gap.start_time - WALL == pytest.approx(34.0, abs=0.2)
        assert blocks[-1].start_time == pytest.approx(WALL + device.elapsed - 0.05, abs=0.01)
        assert blocks[-1].position == pytest.approx((device.elapsed - 0.05) * RATE, abs=500)

    def test_a_backlog_that_arrives_at_once_is_not_a_loss(self):
        device, timeline = Device(), Timeline("mic", RATE, RATE)
        run(device, 30.0, timeline)
        device.delay = lambda at: max(0.0, 35.0 - at)
        blocks = run(device, 60.0, timeline)
        assert not any(block.gap for block in blocks)
        assert blocks[-1].start_time == pytest.approx(WALL + device.elapsed - 0.05, abs=0.01)


class TestSetClock:
    @pytest.mark.parametrize("step", [3_600.0, -3_600.0, 2.5])
    def test_a_set_clock_ends_the_timeline(self, step):
        device, timeline = Device(), Timeline("mic", RATE, RATE)
        run(device, 10.0, timeline)
        device.set_by = step
        with pytest.raises(SourceError, match=rf"the system clock was set by \{step:+.1f} s"):
            push(timeline, device)

    def test_reading_late_is_not_a_set_clock(self):
        device, timeline = Device(), Timeline("mic", RATE, RATE)
        run(device, 10.0, timeline)
        arrived = device.block()
        read_at = device.now(arrived + 5.0)
        (block,) = timeline.push(np.zeros(BLOCK, np.float32), captured_at=arrived, now=read_at)
        assert block.start_time == pytest.approx(WALL + 10.0, abs=1e-3)
        assert not block.gap


def test_clock_dates_a_position_by_anchor_and_rate():
    clock = SampleClock(RATE, 4_800, wall=WALL, monotonic=5.0)
    assert clock.time_of(4_800) == pytest.approx(WALL)
    assert clock.time_of(0) == pytest.approx(WALL - 0.1)


class FakeTime:
    """A monotonic clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds * 1.01 + 0.003  # sleeps are late


class TestPlayback:
    async def test_late_sleeps_do_not_add_up(self):
        time = FakeTime()
        pacer = Pacer(time.monotonic, time.sleep)
        for number in range(1, 10_001):
            assert await pacer.reach(number * 0.05) == 0.0
        assert time.now == pytest.approx(500.0, abs=0.01)

    async def test_short_delays_are_caught_up(self):
        time = FakeTime()
        pacer = Pacer(time.monotonic, time.sleep)
        time.now = 0.9
        assert [await pacer.reach(at) for at in (0.1, 0.2, 0.3)] == [0.0, 0.0, 0.0]
        assert time.now < 0.92

    async def test_a_long_sleep_of_the_machine_is_skipped_and_marked(self):
        time = FakeTime()
        playback = Playback("file", 100, WALL, Pacer(time.monotonic, time.sleep))
        first = await playback.block(np.zeros(10, np.float32), gap=False)
        time.now += 8 * 3_600
        second = await playback.block(np.zeros(10, np.float32), gap=False)
        third = await playback.block(np.zeros(10, np.float32), gap=False)
        assert (first.gap, second.gap, third.gap) == (False, True, False)
        assert (second.position, third.position) == (10, 20)
        assert second.start_time == pytest.approx(WALL + 8 * 3_600, abs=0.2)
        assert third.start_time - second.start_time == pytest.approx(0.1, abs=1e-6)

    async def test_as_fast_as_possible_does_not_wait(self):
        playback = Playback("file", 100, 0.0, None)
        block = await playback.block(np.zeros(1_000, np.float32), gap=True)
        assert (block.position, block.start_time, block.gap) == (0, 0.0, True)
        assert math.isclose((await playback.block(np.zeros(5, np.float32), gap=False)).start_time, 10.0)
