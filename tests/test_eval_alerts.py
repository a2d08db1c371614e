"""When is an alert right? Examples with known answers, and what must hold for any alerts and occurrences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.alerts import Tally, busy_spans, match, merged, tally
from monitor.evaluation.timeline import Alert


@pytest.mark.parametrize(
    ("start", "right"),
    [(9.49, False), (9.5, True), (10.0, True), (14.0, True), (16.0, True), (16.01, False)],
)
def test_an_alert_is_right_from_half_a_second_before_the_onset_to_two_seconds_after_the_offset(start, right):
    assert match([start], [(10.0, 14.0)]) == [0 if right else None]


def test_a_second_alert_about_the_same_occurrence_is_false():
    assert match([10.0, 12.0], [(9.0, 14.0)]) == [0, None]


def test_alerts_are_given_to_the_occurrences_that_end_first():
    # Taking the long occurrence for the first alert would leave none for the second.
    assert match([10.0, 15.0], [(9.0, 20.0), (9.0, 10.0)]) == [1, 0]


def test_alerts_are_told_apart_whatever_order_they_come_in():
    assert match([15.0, 10.0], [(9.0, 10.0), (14.0, 15.0)]) == [1, 0]


def alert(started_at, decided_at, ended_at=None):
    return Alert("dog", started_at, decided_at, ended_at)


times = st.integers(0, 60).map(lambda halves: halves / 2)
spans = st.tuples(times, st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1] / 2))


def most_that_fit(starts, occurrences):
    """Maximum bipartite matching by augmenting paths, written without a thought of time."""
    taken = {}

    def place(alert, tried):
        for index, (onset, offset) in enumerate(occurrences):
            if index not in tried and onset - 0.5 <= starts[alert] <= offset + 2.0:
                tried.add(index)
                if index not in taken or place(taken[index], tried):
                    taken[index] = alert
                    return True
        return False

    return sum(place(alert, set()) for alert in range(len(starts)))


@given(st.lists(times, max_size=8), st.lists(spans, max_size=8))
def test_as_many_alerts_are_right_as_can_be_and_none_twice(starts, occurrences):
    matched = match(starts, occurrences)
    used = [index for index in matched if index is not None]
    assert len(used) == len(set(used)) == most_that_fit(starts, occurrences)
    for start, index in zip(starts, matched, strict=True):
        if index is not None:
            onset, offset = occurrences[index]
            assert onset - 0.5 <= start <= offset + 2.0


@given(st.lists(times, max_size=8), st.lists(spans, max_size=8))
def test_every_alert_is_right_or_false_and_right_ones_have_a_delay(starts, occurrences):
    counted = tally(
        [alert(start, start + 0.25) for start in starts], occurrences, busy_spans(occurrences, 1e3)
    )
    assert counted.right + counted.false == len(starts)
    assert counted.occurrences == len(occurrences)
    assert len(counted.delays_seconds) == counted.right
    assert all(delay >= -0.25 for delay in counted.delays_seconds)


def test_a_tally_has_the_usual_shares():
    counted = tally(
        [alert(1.0, 2.0), alert(3.0, 3.5), alert(30.0, 31.0)],
        [(1.0, 3.0), (10.0, 11.0)],
        busy_spans([(1.0, 3.0), (10.0, 11.0)], 60.0),
    )
    assert (counted.right, counted.false, counted.false_event_free) == (1, 2, 1)
    assert (counted.recall, counted.precision, counted.f1) == (0.5, 1 / 3, 0.4)
    assert counted.delays_seconds == (1.0,)


def test_delays_count_from_the_onset_to_the_decision_and_have_quantiles():
    counted = tally([alert(1.0, 1.5), alert(11.0, 12.5)], [(1.0, 2.0), (10.0, 12.0)], [])
    assert counted.delays_seconds == (0.5, 2.5)
    assert counted.delay(0.5) == 1.5
    assert counted.delay(0.9) == pytest.approx(2.3)


def test_onsets_and_offsets_are_off_by_what_was_told_less_what_was_labelled():
    counted = tally(
        [alert(1.25, 1.5, 2.0), alert(9.5, 11.0, 13.0), alert(30.0, 31.0, 32.0), alert(41.0, 41.5)],
        [(1.0, 2.0), (10.0, 12.0), (40.0, 41.0)],
        [],
    )
    assert counted.onset_errors_seconds == (0.25, -0.5, 1.0)
    assert counted.offset_errors_seconds == (0.0, 1.0)
    assert (counted.onset_error, counted.offset_error) == (0.5, 0.5)


def test_nothing_to_hear_and_nothing_heard_has_no_shares():
    empty = Tally()
    assert (empty.recall, empty.precision, empty.f1, empty.delay(0.5)) == (None, None, None, None)
    assert (empty.onset_error, empty.offset_error) == (None, None)


def test_tallies_add_up():
    one = Tally(2, 1, 3, 1, (0.5,))
    assert one + Tally(1, 1, 0, 0, (1.5,)) == Tally(3, 2, 3, 1, (0.5, 1.5))


def test_touching_spans_are_joined():
    assert merged([(5.0, 6.0), (1.0, 2.0), (2.0, 3.0), (1.5, 1.6)]) == [(1.0, 3.0), (5.0, 6.0)]


def test_busy_spans_have_the_margins_of_an_alert_within_the_recording():
    assert busy_spans([(0.2, 1.0), (9.0, 9.5)], 10.0) == [(0.0, 3.0), (8.5, 10.0)]
