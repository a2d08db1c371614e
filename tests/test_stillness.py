"""The change gate: a steady room costs next to nothing, and nothing that moves is missed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import ChangeGateConfig, Config
from monitor.stillness import ChangeGate, change_gates, sketched
from monitor.types import Window

RATE_HZ = 16_000
HOP = 8_000


def noise(seconds, level=0.01, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def windows(sound, hop=HOP, length=2 * RATE_HZ):
    for position in range(0, len(sound) - length + 1, hop):
        start = position / RATE_HZ
        samples = sound[position : position + length]
        yield Window("hall", position, RATE_HZ, samples, start, start + length / RATE_HZ, -40.0)


def embedded(sound, **gate):
    """Return the ends of the windows that were embedded, in seconds."""
    made = ChangeGate(ChangeGateConfig(**gate), HOP / RATE_HZ)
    return [window.end_time for window in windows(sound) if made.moved(window)]


def test_a_steady_room_is_embedded_as_often_as_the_limit_says():
    ends = embedded(noise(30), max_seconds=5, tolerance_db=6)
    assert ends == [2.0, 7.0, 12.0, 17.0, 22.0, 27.0]


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
def test_a_sound_has_every_window_with_it_embedded(seconds):
    sound = noise(20)
    first, last = round(9.1 * RATE_HZ), round((9.1 + seconds) * RATE_HZ)
    sound[first:last] += (0.1 * np.sin(2 * np.pi * 1000 / RATE_HZ * np.arange(last - first))).astype("f4")
    ends = embedded(sound, max_seconds=60)
    with_it = {end for end in np.arange(2.0, 20.01, 0.5) if end - 2.0 < 9.1 + seconds and end > 9.1}
    assert with_it <= set(ends)
    assert len(ends) <= len(with_it) + 4  # the beginning, and noise that wavers


def test_a_room_that_grows_louder_slowly_is_noticed_before_it_has_moved_far():
    sound = noise(60) * np.geomspace(1, 10, 60 * RATE_HZ).astype(np.float32)  # 20 dB in a minute
    ends = np.array(embedded(sound, max_seconds=60))
    assert np.diff(ends).max() < 12.0  # 20/60 dB a second: 3 dB in 9 s


def test_what_follows_a_sound_is_embedded_until_the_sound_has_left_the_window():
    sound = np.concatenate([noise(6), noise(2, level=0.2), noise(6)])
    ends = embedded(sound, max_seconds=60)
    assert {6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0} <= set(ends)


def test_a_window_after_a_break_is_embedded_though_it_is_alike():
    made = ChangeGate(ChangeGateConfig(), HOP / RATE_HZ)
    first, *_ = windows(noise(3))
    assert made.moved(first)
    made.forget()
    assert made.moved(first)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=25, unique=True))
def test_windows_that_were_dropped_before_do_not_make_a_moved_window_still(kept):
    """However many windows are left out, one with something new in its newest hop is embedded."""
    sound = noise(23)
    made = ChangeGate(ChangeGateConfig(max_seconds=60), HOP / RATE_HZ)
    chosen = [window for index, window in enumerate(windows(sound)) if index in kept]
    for window in chosen[:-1]:
        made.moved(window)
    last = chosen[-1]
    samples = last.samples.copy()
    samples[-4000:] += noise(0.25, level=0.2, seed=5)
    moved = Window("hall", last.position, RATE_HZ, samples, last.start_time, last.end_time, -30.0)
    assert made.moved(moved)


def test_silence_is_still_and_no_number_is_infinite():
    assert np.isfinite(sketched(np.zeros(HOP, np.float32), RATE_HZ)).all()
    assert embedded(np.zeros(10 * RATE_HZ, np.float32), max_seconds=60) == [2.0]


def test_an_event_can_keep_its_sources_out_of_it():
    made = Config.model_validate(
        {
            "sources": {"hall": {}, "attic": {}},
            "events": {
                "knock": {"prompts": "a knock", "change_gate": False, "sources": "hall"},
                "siren": "a siren",
            },
            "windows": {"change_gate": {}},
        }
    )
    assert set(change_gates(made)) == {"attic"}
    every_window = made.windows.model_copy(update={"change_gate": None})
    assert change_gates(made.model_copy(update={"windows": every_window})) == {}
