"""Bounds on rates: the well-known values, and that they hold as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.rates import Rate, Tail, at_least, at_most, counted, from_logit, logit


def test_no_alarm_promises_at_most_three_per_hours_listened():
    assert at_most(0) == pytest.approx(-math.log(0.05))
    assert counted(0, 24.0) == Rate(0.0, 0.0, pytest.approx(3.0 / 24, rel=2e-3))


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0.0513, 4.744), (5, 1.970, 10.513), (40, 30.196, 52.069)]
)
def test_bounds_of_a_count_are_those_of_the_tables(count, low, high):
    """Values of the chi-squared distribution, half its quantiles at 2n and 2n + 2 degrees."""
    assert at_least(count) == pytest.approx(low, abs=2e-3)
    assert at_most(count) == pytest.approx(high, abs=2e-3)


def test_bounds_of_thousands_are_found_too():
    assert at_least(5000) == pytest.approx(5000 - 1.645 * math.sqrt(5000), rel=1e-3)
    assert at_most(5000) == pytest.approx(5000 + 1.645 * math.sqrt(5000), rel=1e-3)


@given(st.floats(1e-5, 1 - 1e-5))
def test_log_odds_and_back(score):
    assert from_logit(logit(score)) == pytest.approx(score, rel=1e-6)


def test_scores_of_exactly_nothing_and_everything_have_log_odds():
    assert -15 < logit(0.0) < -13
    assert 13 < logit(1.0) < 15


def peaks(rng, count, scale=0.8, base=-3.0):
    values = np.sort(base + rng.exponential(scale, count))[::-1]
    return [from_logit(value) for value in values]


@pytest.mark.parametrize("count", [5, 40])
def test_the_score_for_a_rate_is_passed_that_often_on_average(count):
    """Over many rooms: thresholds for a tenth of an alarm in as long again give a tenth on average."""
    rng = np.random.default_rng(7)
    truth = []
    for _ in range(4000):
        tail = Tail.fit([*peaks(rng, count), from_logit(-3.0)], count, hours=2.0)
        score = tail.score_at(0.05)
        truth.append(count / 2.0 * math.exp(-(logit(score) + 3.0) / 0.8))
    assert np.mean(truth) == pytest.approx(0.05, rel=0.1)


def test_the_bounds_hold_the_true_rate_as_often_as_they_say():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(1000):
        count = max(int(rng.poisson(20)), 3)
        tail = Tail.fit([*peaks(rng, count), from_logit(-3.0)], count, hours=1.0)
        rate = tail.rate(from_logit(1.0))
        inside += rate.low <= 20 * math.exp(-4.0 / 0.8) <= rate.high
    assert inside >= 900


@given(st.floats(0.01, 100), st.lists(st.floats(0.001, 0.99), min_size=4, max_size=30))
def test_what_is_wanted_is_what_is_expected_and_lies_between_its_bounds(per_hour, scores):
    levels = sorted(scores, reverse=True)
    tail = Tail.fit(levels, len(levels) - 1, hours=1.0)
    score = tail.score_at(per_hour)
    rate = tail.rate(score)
    assert rate.low <= rate.expected <= rate.high
    if per_hour < tail.peaks and score < 1 - 2e-6:
        assert rate.expected == pytest.approx(per_hour, rel=1e-2)


def test_rarer_alarms_take_higher_scores():
    rng = np.random.default_rng(1)
    tail = Tail.fit(peaks(rng, 30), 29, hours=1.0)
    scores = [tail.score_at(rate) for rate in (100.0, 10.0, 1.0, 0.1, 0.01)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(from_logit(tail.base))
