"""Dates of events: near the sound's own onset and offset, in order, the same whenever they are asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.activity import Ended, Started
from monitor.config import Config
from monitor.dating import PAST_SECONDS, Dater, Past
from monitor.detection import Detector
from monitor.evaluation.timeline import Alerts, Timeline, decide
from monitor.types import Phase, Reason, Scores

HOP, WINDOW = 0.5, 2.0
ENDS = 10.0 + HOP * np.arange(8)


def made(rule, smoothing):
    return Config.model_validate(
        {
            "sources": {"room": {"type": "demo"}},
            "events": {"low": rule if "level" in rule else {"prompts": "low", **rule}},
            "smoothing": smoothing,
        }
    )


def dater(**rule):
    return Dater(made(rule, {"method": "none"}), "low")


def scores(*values):
    return np.array(values, np.float32)


def test_an_onset_is_an_eighth_of_a_window_before_half_the_threshold_was_crossed():
    change = dater().date(Started(11.5, 0.6), ENDS[:4], scores(0.05, 0.05, 0.45, 0.9))
    assert change == Started(pytest.approx(10.75 - WINDOW / 8), 0.6)


def test_an_offset_is_half_a_window_before_half_the_threshold_was_crossed():
    heard = scores(0.9, 0.9, 0.9, 0.45, 0.05, 0.0, 0.0, 0.0)
    change = dater().date(Ended(10.0, 13.0, 0.9, Reason.THRESHOLD), ENDS, heard)
    assert change.ended_at == pytest.approx(11.75 - WINDOW / 2)


def test_a_sound_that_was_always_there_is_dated_two_windows_back_at_most():
    change = dater().date(Started(60.0, 0.6), HOP * np.arange(121), np.full(121, 0.4, np.float32))
    assert change.started_at == 60.0 - 2 * WINDOW - WINDOW / 8


def test_a_sound_in_the_first_window_of_all_was_there_from_its_beginning():
    change = dater().date(Started(10.5, 0.6), ENDS[:2], scores(0.9, 0.9))
    assert change.started_at == ENDS[0] - WINDOW


def test_a_score_that_was_never_at_half_the_threshold_is_dated_by_the_decision():
    change = dater().date(Started(11.0, 0.6), ENDS[:3], scores(0.1, 0.1, 0.1))
    assert change.started_at == 11.0 - WINDOW / 8


def test_an_end_for_another_reason_is_when_it_was_told():
    heard = scores(0.9, 0.9, 0.0, 0.0, 0.0)
    change = dater().date(Ended(10.0, 12.0, 0.9, Reason.SOURCE_LOST), ENDS[:5], heard)
    assert change.ended_at == 12.0


def test_a_level_is_of_the_newest_hop_and_dated_as_told():
    loud = dater(level={"above_dbfs": -20})
    assert loud.date(Started(11.5, 0.9), ENDS[:4], scores(0.9, 0.9, 0.1, 0.9)) == Started(11.5, 0.9)
    ended = Ended(11.5, 12.5, 0.9, Reason.THRESHOLD)
    assert loud.date(ended, ENDS[:6], scores(0.9, 0.9, 0.1, 0.9, 0.9, 0.1)) == ended


def test_an_occurrence_begins_after_the_one_before_has_ended_and_its_cooldown():
    one = dater(cooldown_seconds=1.0)
    one.date(Started(10.5, 0.6), ENDS[:2], scores(0.0, 0.9))
    ended = one.date(Ended(10.5, 11.0, 0.9, Reason.SHUTDOWN), ENDS[:3], scores(0.0, 0.9, 0.9))
    again = one.date(Started(12.0, 0.9), ENDS[:5], scores(0.0, 0.9, 0.9, 0.9, 0.9))
    assert again.started_at == ended.ended_at + 1.0


def test_the_past_holds_the_newest_windows_in_order():
    past = Past(2, HOP)
    assert past.of(0)[0].size == 0
    for index in range(100):
        past.add(index * HOP, scores(index, -index))
    ends, values = past.of(1)
    assert ends[-1] == 49.5
    assert 49.5 - ends[0] >= PAST_SECONDS
    assert np.all(np.diff(ends) == HOP)
    assert np.array_equal(values, -ends / HOP)
    past.forget()
    assert past.of(1)[0].size == 0


rules = st.fixed_dictionaries(
    {
        "on_threshold": st.sampled_from([0.2, 0.5, 0.7]),
        "off_threshold": st.sampled_from([0.05, 0.2]),
        "min_on_seconds": st.sampled_from([0.0, 1.0]),
        "min_off_seconds": st.sampled_from([0.0, 1.5, 20.0]),
        "cooldown_seconds": st.sampled_from([0.0, 2.0]),
        "max_duration_seconds": st.sampled_from([None, 2.0]),
        "min_level_dbfs": st.sampled_from([None, -30.0]),
    }
)
smoothings = st.sampled_from(
    [
        {"method": "ema"},
        {"method": "ema", "seconds": 10.0},
        {"method": "median", "seconds": 2.5},
        {"method": "none"},
    ]
)
heard = st.lists(st.tuples(st.integers(0, 10), st.sampled_from([-40.0, -20.0])), min_size=1, max_size=120)


@given(rules, smoothings, heard, st.sampled_from([0.0, 1_700_000_000.0]))
def test_occurrences_are_in_order_and_apart_and_dated_near_their_decision(rule, smoothing, windows, start):
    config = made(rule, smoothing)
    ids = map(str, range(1000))
    detector = Detector("room", config, lambda: next(ids))
    told = []
    for index, (tenths, level) in enumerate(windows):
        end = start + WINDOW + HOP * index
        for event in detector.process(Scores("room", end - WINDOW, end, level, scores(tenths / 10))):
            told.append((event, end))
            (activity,) = detector.activities()
            assert activity.since == (event.started_at if event.phase is Phase.START else None)
    last = start + WINDOW + HOP * len(windows)
    told += [(event, last) for event in detector.end_all(last, Reason.SHUTDOWN)]
    assert [event.phase for event, _ in told] == [Phase.START, Phase.END] * (len(told) // 2)
    free_from = -np.inf
    for (began, decided), (ended, known) in zip(told[::2], told[1::2], strict=True):
        assert (began.id, began.started_at) == (ended.id, ended.started_at)
        assert free_from - 0.01 <= began.started_at <= decided + 0.01
        assert began.started_at <= ended.ended_at <= known + 0.01
        free_from = ended.ended_at + config.events["low"].cooldown_seconds


@given(rules, smoothings, heard)
def test_dates_on_recorded_scores_are_the_detectors(rule, smoothing, windows):
    config = made(rule, smoothing)
    values = scores(*(tenths / 10 for tenths, _ in windows))[:, None]
    levels = scores(*(level for _, level in windows))
    ids = map(str, range(1000))
    detector = Detector("room", config, lambda: next(ids))
    ends = WINDOW + HOP * np.arange(len(windows))
    smooth, told = [], Alerts()
    for end, level, row in zip(ends.tolist(), levels.tolist(), values, strict=True):
        for event in detector.process(Scores("room", end - WINDOW, end, level, row)):
            told.add(event, end)
        smooth.append([detector.activities()[0].smooth])
    timeline = Timeline("room", ends, levels, values, np.array(smooth, np.float32))
    assert decide(config, "low", timeline, rule["on_threshold"]) == told.list()


def test_under_changed_rules_no_occurrence_begins_before_the_last_one_ended():
    ids = map(str, range(10))
    before, after = (
        Detector("room", made({"on_threshold": on}, {"method": "none"}), lambda: next(ids))
        for on in (0.5, 0.4)
    )
    ends = WINDOW + HOP * np.arange(6)
    for end in ends[:4].tolist():
        before.process(Scores("room", end - WINDOW, end, -20.0, scores(0.9)))
    (ended,) = after.succeed(before)
    (begun,) = after.process(Scores("room", ends[4] - WINDOW, float(ends[4]), -20.0, scores(0.9)))
    assert (ended.phase, begun.phase) == (Phase.END, Phase.START)
    assert begun.started_at >= ended.ended_at
