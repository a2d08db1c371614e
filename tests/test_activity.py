"""Begin and end of events: hysteresis, times, and a start for every end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.activity import ActivityMachine, Ended, Rule, Started
from monitor.types import Reason

HOP = 0.5


def run(rule, scores, start=1_700_000_000.0):
    machine = ActivityMachine(rule)
    changes = [machine.process(start + HOP * index, score) for index, score in enumerate(scores)]
    return machine, [(index, change) for index, change in enumerate(changes) if change is not None]


def kinds(changes):
    return [
        (index, "start" if isinstance(change, Started) else change.reason.value) for index, change in changes
    ]


rules = st.builds(
    lambda on, band, **times: Rule(on_threshold=on, off_threshold=on * band, **times),
    on=st.floats(0.01, 1),
    band=st.floats(0, 1),
    min_on_seconds=st.floats(0, 5),
    min_off_seconds=st.floats(0, 5),
    cooldown_seconds=st.floats(0, 10),
    max_duration_seconds=st.none() | st.floats(0.5, 10),
)
timeline = st.lists(st.floats(0, 1), max_size=200)


@given(rule=rules, scores=timeline, final=st.sampled_from(list(Reason)))
def test_every_start_has_exactly_one_end(rule, scores, final):
    machine, changes = run(rule, scores)
    last = machine.end(1_700_000_000.0 + HOP * len(scores), final)
    told = [change for _, change in changes] + ([last] if last else [])
    assert [type(change) for change in told] == [Started, Ended] * (len(told) // 2)
    for started, ended in zip(told[::2], told[1::2], strict=True):
        assert started.started_at == ended.started_at
        assert ended.ended_at >= ended.started_at
        assert ended.peak_score >= rule.on_threshold
    for ended, following in zip(told[1::2], told[2::2], strict=False):
        assert following.started_at >= ended.ended_at + rule.cooldown_seconds - 0.01
    assert machine.end(0.0, final) is None


@given(rule=rules, data=st.data())
def test_hysteresis_never_flaps_inside_its_band(rule, data):
    rule = Rule(on_threshold=rule.on_threshold, off_threshold=rule.off_threshold)
    inside = st.floats(
        rule.off_threshold, rule.on_threshold, exclude_max=rule.off_threshold < rule.on_threshold
    )
    band = data.draw(st.lists(inside, max_size=50))
    _, changes = run(rule, [1.0, *band])
    assert kinds(changes) == [(0, "start")]
    if rule.off_threshold < rule.on_threshold:
        assert run(rule, band)[1] == []


@given(rule=rules, scores=timeline)
def test_no_event_lasts_longer_than_its_maximum_and_a_hop(rule, scores):
    _, changes = run(rule, scores)
    if rule.max_duration_seconds is not None:
        for _, change in changes:
            if isinstance(change, Ended):
                # It can't end before it has been told, which takes `min_on_seconds`.
                longest = max(rule.max_duration_seconds, rule.min_on_seconds + HOP)
                assert change.ended_at - change.started_at <= longest + HOP + 0.01


@pytest.mark.parametrize(
    ("rule", "scores", "expected"),
    [
        (Rule(0.5, 0.3), [0.4, 0.5, 0.2], [(1, "start"), (2, "threshold")]),
        (Rule(0.5, 0.3, min_on_seconds=1.0), [0.6, 0.6, 0.2, 0.6, 0.6, 0.6], [(5, "start")]),
        (
            Rule(0.5, 0.3, min_off_seconds=1.0),
            [0.6, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1],
            [(0, "start"), (6, "threshold")],
        ),
        (
            Rule(0.5, 0.3, cooldown_seconds=1.5),
            [0.6, 0.1, 0.6, 0.6, 0.6],
            [(0, "start"), (1, "threshold"), (4, "start")],
        ),
        (
            Rule(0.5, 0.3, max_duration_seconds=1.0),
            [0.6, 0.6, 0.6, 0.6, 0.4, 0.6, 0.2, 0.6],
            [(0, "start"), (2, "max_duration"), (7, "start")],
        ),
    ],
    ids=["band", "min_on", "min_off", "cooldown", "max_duration needs a fall below off"],
)
def test_rule(rule, scores, expected):
    assert kinds(run(rule, scores)[1]) == expected


def test_the_start_is_when_the_score_rose_and_the_end_when_it_fell():
    _, changes = run(
        Rule(0.5, 0.3, min_on_seconds=1.0, min_off_seconds=1.0), [0, 0.7, 0.9, 0.8, 0, 0, 0], start=0.0
    )
    (_, started), (_, ended) = changes
    assert started == Started(started_at=0.5, score=0.9)
    assert ended == Ended(started_at=0.5, ended_at=2.0, peak_score=0.9, reason=Reason.THRESHOLD)


def test_a_lost_source_ends_what_is_active_now():
    machine, _ = run(Rule(0.5, 0.3), [0.9], start=0.0)
    assert machine.end(7.0, Reason.SOURCE_LOST) == Ended(0.0, 7.0, 0.9, Reason.SOURCE_LOST)
    assert not machine.active
