"""What the broker is to hold, also of a process that is gone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.sinks.retained import Retained

TOPICS = st.sampled_from(["a/status", "a/x/state", "a/y/state", "b/status"])


class Broker:
    """What a broker holds after the messages that it acknowledged."""

    def __init__(self):
        self.held = {}

    async def sync(self, retained, most=1000):
        await retained.remember()
        while messages := retained.take(most):
            for message in messages:
                assert message.retained
                if message.payload:
                    self.held[message.topic] = message.payload
                else:
                    self.held.pop(message.topic, None)
            await retained.acknowledged(messages)


def opened(path):
    retained = Retained(path)
    retained.load()
    return retained


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), TOPICS, st.sampled_from([b"1", b"2", b""])),
        st.tuples(st.just("want"), st.frozensets(TOPICS)),
        st.tuples(st.just("sync"), st.integers(1, 3)),
        st.tuples(st.just("restart"), st.frozensets(TOPICS)),
    ),
    max_size=20,
)


@given(steps=STEPS)
async def test_in_the_end_the_broker_holds_what_was_set_last_and_is_wanted(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("state") / "retained.json"
    broker, retained, wanted, expected = Broker(), opened(path), None, {}
    for kind, *what in steps:
        if kind == "set":
            topic, payload = what
            retained.set(topic, payload)
            if payload and (wanted is None or topic in wanted):
                expected[topic] = payload
            else:
                expected.pop(topic, None)
        elif kind == "sync":
            await broker.sync(retained, *what)
        else:
            if kind == "restart":
                retained = opened(path)
                expected = dict(broker.held)
            (wanted,) = what
            retained.want(wanted)
            expected = {topic: payload for topic, payload in expected.items() if topic in wanted}
    await broker.sync(retained)
    assert broker.held == expected
    assert opened(path)._known == set(expected)


async def test_what_left_while_nobody_ran_is_removed_and_then_forgotten(tmp_path):
    path, broker = tmp_path / "retained.json", Broker()
    first = opened(path)
    for topic in ("p/hall/status", "p/hall/dog/state"):
        first.set(topic, b"ON")
    await first.remember("p/status")
    await broker.sync(first)
    second = opened(path)
    second.want(["p/status", "p/hall/status"])
    await broker.sync(second)
    assert set(broker.held) == {"p/hall/status"}
    assert json.loads(path.read_text()) == {"topics": ["p/hall/status", "p/status"]}


async def test_a_topic_is_written_down_before_the_broker_can_have_it(tmp_path):
    path = tmp_path / "retained.json"
    retained = opened(path)
    retained.set("p/hall/status", b"online")
    await retained.remember()
    assert json.loads(path.read_text()) == {"topics": ["p/hall/status"]}


async def test_a_removal_that_was_not_acknowledged_is_tried_again_by_the_next(tmp_path):
    path = tmp_path / "retained.json"
    path.write_text('{"topics": ["p/gone/state"]}')
    retained = opened(path)
    retained.want([])
    (message,) = retained.take(10)
    assert (message.topic, message.payload) == ("p/gone/state", b"")
    again = opened(path)
    again.want([])
    assert again.take(10) == [message]
    await again.acknowledged([message])
    assert opened(path).take(10) == []
    assert json.loads(path.read_text()) == {"topics": []}


def test_what_is_told_already_is_no_news():
    retained = Retained()
    assert retained.set("p/x", b"ON")
    assert not retained.set("p/x", b"ON")
    assert retained.set("p/x", b"OFF")
    assert not retained.set("p/y", b"")
    assert [message.payload for message in retained.take(10)] == [b"OFF"]
    assert not retained.untold
    retained.resend()
    assert retained.untold


@pytest.mark.parametrize(
    "text", ["", "[]", '{"topics": "a"}', '{"topics": [1]}', '{"topics": ["a/#"]}', '{"topics": [""]}']
)
def test_a_damaged_file_is_told_and_never_published_from(text, tmp_path, caplog):
    path = tmp_path / "retained.json"
    path.write_text(text)
    retained = opened(path)
    retained.want([])
    assert not retained.untold
    assert str(path) in caplog.text


async def test_a_file_that_cannot_be_written_is_told_once_and_written_later(tmp_path, caplog):
    folder = tmp_path / "not-yet"
    retained = opened(folder / "retained.json")
    retained.set("p/x", b"ON")
    await retained.remember()
    await retained.remember()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    folder.mkdir()
    await retained.remember()
    assert json.loads((folder / "retained.json").read_text()) == {"topics": ["p/x"]}
