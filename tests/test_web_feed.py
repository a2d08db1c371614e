"""The page's live stream, without a network."""

import asyncio
from dataclasses import replace

import pytest
from scenes import HOUSE, event

from monitor.web.feed import INTERVAL_SECONDS, Feed, Stream


class Clock:
    """Time that passes when told, and while a status is taken."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Daemon:
    """Something with a status, which costs time to take."""

    def __init__(self, clock: Clock, cost_seconds: float = 0.0) -> None:
        self.clock = clock
        self.cost_seconds = cost_seconds
        self.taken = 0
        self.recent = HOUSE.recent

    def status(self):
        self.taken += 1
        self.clock.now += self.cost_seconds
        return replace(HOUSE, at=self.clock.now, recent=self.recent)


@pytest.fixture
def clock():
    return Clock()


def kinds(message: bytes) -> list[str]:
    return [
        line.removeprefix("event: ") for line in message.decode().splitlines() if line.startswith("event")
    ]


async def test_all_clients_of_an_interval_share_one_snapshot(clock):
    daemon = Daemon(clock)
    feed = Feed(daemon.status, clock)
    frames = await asyncio.gather(*(Stream(feed).next() for _ in range(100)))
    assert daemon.taken == 1
    assert len(set(frames)) == 1


async def test_the_next_interval_brings_the_newest_state(clock):
    daemon = Daemon(clock)
    feed = Feed(daemon.status, clock)
    stream = Stream(feed)
    first = await stream.next()
    clock.now += INTERVAL_SECONDS
    second = await stream.next()
    assert daemon.taken == 2
    assert b'"at":1000.0' in first
    assert b'"at":1000.5' in second


async def test_recent_events_are_sent_at_first_and_then_only_when_there_are_new_ones(clock):
    daemon = Daemon(clock)
    feed = Feed(daemon.status, clock)
    early = Stream(feed)
    assert kinds(await early.next()) == ["settings", "recent", "status"]
    clock.now += INTERVAL_SECONDS
    assert kinds(await early.next()) == ["status"]
    assert kinds(await Stream(feed).next()) == ["settings", "recent", "status"]
    clock.now += INTERVAL_SECONDS
    daemon.recent = (event(99, "kitchen", "dog_bark", 1.0, None, 0.9), *HOUSE.recent)
    assert kinds(await early.next()) == ["recent", "status"]


async def test_a_client_that_slept_gets_the_newest_state_and_nothing_of_between(clock):
    daemon = Daemon(clock)
    feed = Feed(daemon.status, clock)
    sleeper, lively = Stream(feed), Stream(feed)
    await sleeper.next()
    for _ in range(1000):
        clock.now += INTERVAL_SECONDS
        await lively.next()
    message = await sleeper.next()
    assert message.count(b"event: status") == 1
    assert f'"at":{clock.now}'.encode() in message


@pytest.mark.parametrize(("cost_seconds", "interval"), [(0.0, 0.5), (0.02, 0.5), (0.1, 2.0), (1.0, 20.0)])
async def test_a_costly_status_is_taken_less_often(clock, cost_seconds, interval):
    daemon = Daemon(clock, cost_seconds)
    feed = Feed(daemon.status, clock)
    await feed.newest()
    assert feed.interval_seconds == pytest.approx(interval)
    began = clock.now
    while clock.now - began < 200.0:
        await feed.newest()
        clock.now += 0.25
    assert daemon.taken * cost_seconds <= 0.06 * 202.0
