"""Smoothing over time: bounded, fair to the hop, never firing on one window."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import EmaSmoothing, MedianSmoothing, NoSmoothing
from monitor.smoothing import Smoother, median_length

scores = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60)
methods = st.one_of(
    st.builds(EmaSmoothing, seconds=st.floats(0, 20), fall_seconds=st.floats(0, 20)),
    st.builds(MedianSmoothing, method=st.just("median"), seconds=st.floats(0, 20)),
    st.just(NoSmoothing(method="none")),
)


def plain(seconds):
    return EmaSmoothing(seconds=seconds, fall_seconds=seconds)


def run(method, values, hop_seconds=0.5):
    smoother = Smoother([method], hop_seconds)
    return [float(smoother.update(np.array([value], np.float32))[0]) for value in values]


@given(method=methods, values=scores, hop_seconds=st.floats(0.1, 2))
def test_smoothed_scores_stay_within_what_was_seen(method, values, hop_seconds):
    smoothed = run(method, values, hop_seconds)
    assert all(-1e-6 <= value <= max(values) + 1e-6 for value in smoothed)


@given(values=scores)
def test_without_smoothing_scores_pass_unchanged(values):
    assert run(NoSmoothing(method="none"), values) == values


@pytest.mark.parametrize("hop_seconds", [0.1, 0.25, 0.5, 1.0])
def test_step_response_reaches_63_percent_after_the_time_constant_at_any_hop(hop_seconds):
    hops = round(2.0 / hop_seconds)
    assert run(plain(2.0), [1.0] * hops, hop_seconds)[-1] == pytest.approx(1 - math.exp(-1), 1e-4)


def test_a_dropped_window_weighs_the_next_one_as_two_hops():
    regular, dropped = (Smoother([plain(1.0)], 0.5) for _ in range(2))
    one = np.ones(1, np.float32)
    regular.update(one)
    expected = regular.update(one)
    assert dropped.update(one, 1.0) == pytest.approx(expected)


def test_median_ignores_a_single_outlier_and_follows_a_majority():
    method = MedianSmoothing(method="median", seconds=1.5)
    assert run(method, [0, 0, 1, 0, 0]) == [0, 0, 0, 0, 0]
    assert run(method, [0, 1, 1, 1]) == [0, 0, 1, 1]


@given(seconds=st.floats(0, 100), hop_seconds=st.floats(0.1, 10))
def test_median_length_is_odd_and_near_what_was_asked(seconds, hop_seconds):
    length = median_length(seconds, hop_seconds)
    assert length % 2 == 1
    assert abs(length * hop_seconds - seconds) <= hop_seconds * 1.001 or length == 1


def test_events_with_different_methods_dont_touch_each_other():
    mixed = Smoother([plain(1.0), MedianSmoothing(method="median", seconds=1.5)], 0.5)
    alone = Smoother([plain(1.0)], 0.5)
    for value in (0.2, 0.9, 0.4):
        both = mixed.update(np.array([value, 1 - value], np.float32))
        assert both[0] == alone.update(np.array([value], np.float32))[0]


def test_reset_forgets():
    smoother = Smoother([plain(1.0), MedianSmoothing(method="median", seconds=1.5)], 0.5)
    for _ in range(9):
        smoother.update(np.ones(2, np.float32))
    smoother.reset()
    assert smoother.update(np.zeros(2, np.float32)).tolist() == [0, 0]


def test_an_average_rises_and_falls_each_with_its_own_time_constant():
    smoothed = run(EmaSmoothing(seconds=0.5, fall_seconds=2.0), [1.0] + 4 * [0.0])
    assert smoothed[0] == pytest.approx(1 - math.exp(-1), 1e-4)
    assert smoothed[-1] == pytest.approx(smoothed[0] * math.exp(-1), 1e-4)
