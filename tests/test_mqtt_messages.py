"""Topics and payloads, as receivers are promised them."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from monitor.sinks import messages
from monitor.sinks.messages import Topics
from monitor.types import Event, Phase, Reason

slugs = st.from_regex(r"\A[a-z0-9_]{1,20}\Z")
seconds = st.floats(0, 4e9)
events = st.builds(
    Event,
    id=st.uuids().map(str),
    source=slugs,
    name=slugs,
    phase=st.sampled_from(Phase),
    started_at=seconds,
    ended_at=st.none() | seconds,
    peak_score=st.floats(0, 1),
    threshold=st.floats(0, 1),
    reason=st.sampled_from(Reason),
    clip=st.none() | st.text(),
)


@given(events)
def test_an_event_is_told_whole_in_json(event: Event):
    told = json.loads(messages.event_payload(event))
    assert list(told) == [
        *("id", "source", "event", "phase", "score", "threshold"),
        *("started_at", "ended_at", "duration_seconds", "reason", "clip"),
    ]
    assert (told["id"], told["source"], told["event"]) == (event.id, event.source, event.name)
    assert told["phase"] in {"start", "end"}
    assert told["clip"] == event.clip
    assert abs(told["score"] - event.peak_score) <= 5.1e-5
    assert abs(told["started_at"] - event.started_at) <= 5.1e-4
    if event.ended_at is None:
        assert told["ended_at"] is told["duration_seconds"] is None
    else:
        assert abs(told["duration_seconds"] - (event.ended_at - event.started_at)) <= 5.1e-4


@given(events)
def test_attributes_are_what_the_topic_does_not_tell(event: Event):
    told, attributes = (
        json.loads(payload(event)) for payload in (messages.event_payload, messages.attributes_payload)
    )
    assert attributes == {k: v for k, v in told.items() if k not in {"source", "event", "phase"}}


@given(st.sets(st.tuples(slugs, slugs), min_size=2, max_size=20))
def test_no_two_things_share_a_topic(pairs: set[tuple[str, str]]):
    topics = Topics("home/sound")
    of_sources = [
        of(source)
        for source in {source for source, _ in pairs}
        for of in (topics.source_status, topics.event, topics.level)
    ]
    of_events = [of(*pair) for pair in pairs for of in (topics.state, topics.attributes, topics.score)]
    everything = [topics.status, *of_sources, *of_events]
    assert len(set(everything)) == len(everything)
    assert all(topic.startswith("home/sound/") for topic in everything)


@given(st.floats(0, 1))
def test_a_score_is_a_plain_number(score: float):
    payload = messages.score_payload(score).decode()
    assert abs(float(payload) - score) <= 5.1e-5
    assert set(payload) <= set("0123456789.")


@pytest.mark.parametrize(
    ("level_dbfs", "payload"),
    [(float("-inf"), b"-120.0"), (-500.0, b"-120.0"), (-3.04, b"-3.0"), (0.0, b"0.0")],
)
def test_a_level_is_a_plain_number_even_in_silence(level_dbfs: float, payload: bytes):
    assert messages.level_payload(level_dbfs) == payload


def test_json_never_holds_what_json_does_not_have():
    with pytest.raises(ValueError, match="not JSON compliant"):
        messages.to_json({"score": float("nan")})
