"""The made-up scene: the same for the same seed, endless, and heard when it says."""

import time
from itertools import pairwise

import numpy as np
import pytest

from monitor.config import DemoSource
from monitor.pcm import level_dbfs
from monitor.sources import open_source
from monitor.sources.demo import scene, schedule
from monitor.sources.sounds import RATE_HZ, SOUNDS, make


def test_the_same_seed_gives_the_same_scene():
    for _ in range(2):
        (one, heard_one), (two, heard_two) = next(scene(3)), next(scene(3))
        np.testing.assert_array_equal(one, two)
        assert heard_one == heard_two
    assert schedule(3, 60.0) != schedule(4, 60.0)


def test_every_sound_comes_once_a_round_and_never_twice_in_a_row():
    parts = scene(5)
    labels = [next(parts)[1].label for _ in range(2 * len(SOUNDS))]
    assert set(labels[: len(SOUNDS)]) == set(labels[len(SOUNDS) :]) == set(SOUNDS)
    assert all(before != after for before, after in pairwise(labels))


def test_sounds_stand_out_of_the_room_tone_exactly_when_scheduled():
    parts, began = scene(1), 0
    for _ in range(4):
        part, heard = next(parts)
        assert 12.0 <= len(part) / RATE_HZ <= 20.0
        onset, offset = (round(at * RATE_HZ) - began for at in (heard.onset, heard.offset))
        assert -60.0 < level_dbfs(part[: onset - 1]) < -56.0
        assert -60.0 < level_dbfs(part[offset:]) < -56.0
        assert level_dbfs(part[onset : onset + RATE_HZ]) > -40.0
        assert np.abs(part).max() < 0.5
        began += len(part)


def test_the_schedule_begins_soon():
    assert all(schedule(seed, 10.0)[0].onset < 4.0 for seed in range(3))


@pytest.mark.parametrize("label", SOUNDS)
def test_every_sound_is_clean(label):
    sound = make(label, np.random.default_rng(0))
    assert np.abs(sound).max() == pytest.approx(1.0)
    assert np.isfinite(sound).all()
    assert 3.0 < len(sound) / RATE_HZ < 9.0
    assert abs(sound.mean()) < 0.01


@pytest.mark.parametrize("rate_hz", [48_000, 16_000])
async def test_the_demo_plays_its_scene_in_real_time(rate_hz):
    blocks, config = [], DemoSource(type="demo", seed=2)
    async with open_source("demo", config, rate_hz) as source:
        async for block in source:
            began = blocks[0].start_time if blocks else block.start_time
            blocks.append(block)
            end = block.position + len(block.samples)
            assert time.time() - began >= end / rate_hz - 0.01
            if end >= rate_hz:
                break
    samples = np.concatenate([block.samples for block in blocks])
    assert not any(block.gap for block in blocks)
    assert [block.position for block in blocks[1:]] == list(
        np.cumsum([len(block.samples) for block in blocks])[:-1]
    )
    assert level_dbfs(samples) == pytest.approx(-58.0, abs=4.0)
    if rate_hz == RATE_HZ:
        np.testing.assert_array_equal(samples, next(scene(2))[0][: len(samples)])
