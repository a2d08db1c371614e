"""Whatever breaks between the monitor and the broker: no event is lost, invented or out of order.

Each test prints a row: fault, times injected, events, delivered, duplicates, lost, invented, recovery time
(from the end of the last fault to the acknowledgement of the last event). `pytest -s` shows them.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from forkserver import ForkServer, is_alive
from mosquitto import Mosquitto, mosquitto
from mqtt_kit import (
    Link,
    Receiver,
    Tally,
    an_event,
    broker,
    delivered,
    memory_folder,
    names,
    retained,
    running,
    until,
)

from monitor.config import MqttConfig
from monitor.outbox import Outbox
from monitor.sinks.mqtt import MqttSink
from monitor.types import Event, Phase

__all__ = ["broker"]  # fixtures
pytestmark = pytest.mark.real
KILLS = int(os.environ.get("SOUND_MONITOR_KILLS", "12"))
FAST = {"answer_seconds": 0.5, "retry_seconds": (0.05, 0.2), "environ": {}}


@pytest.fixture
async def link(broker: Mosquitto) -> AsyncIterator[Link]:
    async with Link(broker.port) as it:
        yield it


@pytest.fixture
def outbox_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder / "outbox.db"


@pytest.fixture
async def outbox(outbox_path: Path) -> AsyncIterator[Outbox]:
    async with Outbox(outbox_path) as it:
        yield it


def sink_through(link: Link, outbox: Outbox, **settings: object) -> MqttSink:
    sink = MqttSink(MqttConfig(broker="127.0.0.1", port=link.port, **settings), outbox, **FAST)
    for source in ("hall", "yard"):
        sink.set_state(source, "dog_bark", False)
        sink.set_source_status(source, True)
    return sink


def occurrences(first: int, count: int) -> list[Event]:
    """Starts and ends on two sources in turn."""
    return [
        an_event(number, source, phase=phase)
        for number in range(first, first + count // 4)
        for source in ("hall", "yard")
        for phase in (Phase.START, Phase.END)
    ]


async def publish(sink: MqttSink, tally: Tally, events: list[Event], pause_seconds: float = 0.0) -> None:
    for event in events:
        await sink.publish(event)
        tally.put += names([event])
        await asyncio.sleep(pause_seconds)


async def drain(outbox: Outbox, tally: Tally) -> None:
    began = time.monotonic()
    await delivered(outbox)
    tally.recovery_seconds = time.monotonic() - began


async def settle(receiver: Receiver, tally: Tally) -> None:
    """Wait until the receiver has what the broker has acknowledged, then check."""
    wanted = set(tally.put) - set(tally.got)
    await until(lambda: wanted <= {f"{event['id']}/{event['phase']}" for event in receiver.events})
    tally.receive(receiver)
    tally.check()


@pytest.mark.parametrize(("version", "count"), [("3.1.1", 2000), ("5", 400)])
async def test_a_broker_absent_at_start_gets_all_events_in_order(
    tmp_path: Path, outbox: Outbox, version: str, count: int
):
    tally = Tally(f"broker absent at start, MQTT {version}", injected=1)
    absent = Mosquitto(tmp_path)
    async with Link(absent.port) as link:
        await link.close()
        sink = sink_through(link, outbox, version=version)
        async with running(sink):
            await publish(sink, tally, occurrences(0, count))
            assert not sink.connected
            assert outbox.backlog.pending == count
            with absent as broker:
                async with Receiver(broker) as receiver:
                    await link.open()
                    await drain(outbox, tally)
                    await settle(receiver, tally)
                    found = await retained(broker)
                    assert found["hall/dog_bark/state"] == found["yard/dog_bark/state"] == "OFF"
                    assert found["status"] == found["hall/status"] == "online"


async def test_a_broker_killed_and_restarted_without_memory(broker: Mosquitto, link: Link, outbox: Outbox):
    tally = Tally("broker kill -9, restarted without persistence")
    sink = sink_through(link, outbox)
    dice = random.Random(5)
    async with running(sink):
        for first in range(0, 400, 100):
            async with Receiver(broker) as receiver:
                if first:
                    await link.open()
                publishing = asyncio.create_task(publish(sink, tally, occurrences(first, 400)))
                await asyncio.sleep(dice.uniform(0.1, 0.6))
                broker.kill()
                await link.close()
                tally.injected += 1
                await publishing
                tally.receive(receiver)
            broker.start()
            assert await retained(broker) == {}, "the broker has forgotten everything"
        async with Receiver(broker) as receiver:
            await link.open()
            await drain(outbox, tally)
            await settle(receiver, tally)
        found = await retained(broker)
        assert found["hall/dog_bark/state"] == found["yard/dog_bark/state"] == "OFF"
        assert found["status"] == found["hall/status"] == found["yard/status"] == "online"


async def test_a_frozen_broker(broker: Mosquitto, link: Link, outbox: Outbox):
    tally = Tally("broker frozen (SIGSTOP) and continued")
    sink = sink_through(link, outbox)
    async with Receiver(broker) as receiver, running(sink):
        for first in range(0, 300, 100):
            await until(lambda: sink.connected)
            publishing = asyncio.create_task(publish(sink, tally, occurrences(first, 400)))
            await asyncio.sleep(0.2)
            broker.freeze()
            tally.injected += 1
            await publishing
            await until(lambda: not sink.connected)
            assert sink.last_error
            assert "doesn't answer" in sink.last_error
            broker.thaw()
        await drain(outbox, tally)
        await settle(receiver, tally)
        assert sink.publish_failures
        assert (await retained(broker))["status"] == "online", "not the will of an older connection"


async def test_connections_cut_at_random_moments(broker: Mosquitto, link: Link, outbox: Outbox):
    tally = Tally("connection cut")
    sink = sink_through(link, outbox)
    dice = random.Random(11)
    async with Receiver(broker) as receiver, running(sink):
        publishing = asyncio.create_task(publish(sink, tally, occurrences(0, 800), 0.001))
        while not publishing.done():
            await until(lambda: sink.connected)
            await asyncio.sleep(dice.uniform(0.0, 0.3))
            link.cut()
            tally.injected += 1
        await publishing
        await drain(outbox, tally)
        await settle(receiver, tally)
        assert tally.injected > 5


async def test_a_broker_that_closes_every_connection_at_once(broker: Mosquitto, link: Link, outbox: Outbox):
    tally = Tally("closing at once", injected=1)
    link.closing_at_once = True
    sink = sink_through(link, outbox)
    async with Receiver(broker) as receiver, running(sink):
        await publish(sink, tally, occurrences(0, 100))
        await until(lambda: sink.last_error)
        assert sink.last_error == (
            f"MQTT broker 127.0.0.1:{link.port}: closes the connection at once; "
            "check that mqtt.port and mqtt.tls belong together"
        )
        link.closing_at_once = False
        await drain(outbox, tally)
        await settle(receiver, tally)


async def test_a_slow_broker(broker: Mosquitto, link: Link, outbox: Outbox):
    """Events are sent ahead of the acknowledgements, or 400 of them would take 40 s here."""
    tally = Tally("slow: 50 ms each way", injected=1)
    link.delay_seconds = 0.05
    sink = sink_through(link, outbox)
    async with Receiver(broker) as receiver, running(sink):
        began = time.monotonic()
        await publish(sink, tally, occurrences(0, 400))
        await drain(outbox, tally)
        assert time.monotonic() - began < 20
        await settle(receiver, tally)
        assert len(tally.got) == len(tally.put), "patience makes no duplicates"


async def test_credentials_refused_then_right(tmp_path: Path, outbox: Outbox):
    tally = Tally("credentials refused", injected=1)
    with mosquitto(tmp_path, users={"monitor": "new", "reader": "r"}) as broker:
        config = MqttConfig(broker="127.0.0.1", port=broker.port, username="monitor", password="old")
        sink = MqttSink(config, outbox, **FAST)
        async with Receiver(broker, "-u", "reader", "-P", "r") as receiver, running(sink):
            await publish(sink, tally, occurrences(0, 100))
            await until(lambda: sink.last_error)
            assert not sink.connected
            broker.set_users({"monitor": "old", "reader": "r"})
            await drain(outbox, tally)
            await settle(receiver, tally)


async def test_a_monitor_killed_between_decision_and_acknowledgement(
    broker: Mosquitto, outbox_path: Path, tmp_path: Path
):
    """What `publish` had returned for is delivered, by the next start at the latest."""
    tally = Tally("monitor kill -9")
    log = tmp_path / "put"
    dice = random.Random(13)
    under_way: set[str] = set()
    with ForkServer() as server:
        async with Receiver(broker) as receiver:
            for round_ in range(KILLS):
                arguments = (broker.port, outbox_path, f"r{round_}", 100_000)
                publisher = server.start("mqtt_publisher:main", *arguments, output=log)
                await until(lambda: log.stat().st_size)
                await asyncio.sleep(dice.uniform(0.0, 0.15))
                os.kill(publisher, signal.SIGKILL)
                await until(lambda publisher=publisher: not is_alive(publisher))
                tally.injected += 1
                killed_at = time.monotonic()
                done = log.read_text().splitlines()
                tally.put += [f"{name}/start" for name in done]
                under_way.add(f"r{round_}-{len(done)}/start")
            publisher = server.start("mqtt_publisher:main", broker.port, outbox_path, "last", 10, output=log)
            await until(lambda: not is_alive(publisher))
            tally.recovery_seconds = time.monotonic() - killed_at
            tally.put += [f"{name}/start" for name in log.read_text().splitlines()]
            wanted = set(tally.put)
            await until(lambda: wanted <= {f"{event['id']}/start" for event in receiver.events})
            tally.receive(receiver)
            # An event whose `publish` was under way at the kill may be there or not; it isn't invented.
            tally.got = [name for name in tally.got if name not in under_way - wanted]
            tally.check()
            assert receiver.last("status") == "offline", "the last one stopped in order"
