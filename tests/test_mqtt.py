"""The MQTT sink against a real mosquitto: topics, states, and how it takes its leave."""
# ruff: noqa: ASYNC221 - a test may block its own event loop

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from forkserver import ForkServer
from mosquitto import Mosquitto, free_port
from mqtt_kit import (
    FAST,
    Link,
    Receiver,
    an_event,
    broker,
    config_for,
    delivered,
    outbox,
    retained,
    running,
    until,
    warnings,
)

from monitor.config import MqttConfig
from monitor.outbox import Outbox
from monitor.sinks.messages import Topics
from monitor.sinks.mqtt import MqttSink
from monitor.types import Phase

__all__ = ["broker", "outbox"]  # fixtures
pytestmark = pytest.mark.real


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_an_occurrence_is_told_as_events_and_as_state(broker: Mosquitto, outbox: Outbox, version: str):
    start, end = an_event(1), an_event(1, phase=Phase.END)
    async with (
        Receiver(broker) as receiver,
        running(MqttSink(config_for(broker, version=version), outbox, **FAST)) as sink,
    ):
        sink.set_state("hall", "dog_bark", False)
        sink.set_source_status("hall", True)
        await until(lambda: receiver.last("status") == "online")
        assert receiver.last("hall/status") == "online"
        assert receiver.last("hall/dog_bark/state") == "OFF"
        await sink.publish(start)
        await delivered(outbox)
        await until(lambda: receiver.last("hall/dog_bark/state") == "ON")
        await sink.publish(end)
        await until(lambda: len(receiver.events) == 2)
        assert receiver.last("hall/dog_bark/state") == "OFF"
        began, ended = receiver.events
        common = {"id": "hall-1", "source": "hall", "event": "dog_bark", "score": 0.75, "threshold": 0.5}
        assert began == {
            **common,
            "phase": "start",
            "started_at": 1700000001.0,
            "ended_at": None,
            "duration_seconds": None,
            "reason": "threshold",
            "clip": None,
        }
        assert ended == {
            **began,
            "phase": "end",
            "ended_at": 1700000010.0,
            "duration_seconds": 9.0,
        }
        attributes = json.loads(receiver.last("hall/dog_bark/attributes") or "")
        assert attributes == {k: ended[k] for k in ended if k not in {"source", "event", "phase"}}
        topics = [topic.removeprefix("sound-monitor/hall/") for topic, _, _ in receiver.messages]
        assert topics.index("event") > topics.index("dog_bark/attributes")
    assert await retained(broker) == {
        "status": "offline",
        "hall/status": "online",
        "hall/dog_bark/state": "OFF",
        "hall/dog_bark/attributes": json.dumps(attributes, separators=(",", ":")),
    }


async def test_a_late_subscriber_finds_states_as_they_are_and_no_events(broker: Mosquitto, outbox: Outbox):
    async with running(MqttSink(config_for(broker, prefix="sound-monitor"), outbox, **FAST)) as sink:
        for name in ("dog_bark", "siren"):
            sink.set_state("hall", name, False)
        await sink.publish(an_event(1))
        sink.set_source_status("yard", False)
        await delivered(outbox)
        await until(lambda: "'sound-monitor/yard/status'" in broker.log)
        found = await retained(broker)
        assert json.loads(found.pop("hall/dog_bark/attributes"))["id"] == "hall-1"
        assert found == {
            "status": "online",
            "hall/dog_bark/state": "ON",
            "hall/siren/state": "OFF",
            "yard/status": "offline",
        }


async def test_what_is_forgotten_goes_from_the_broker(broker: Mosquitto, outbox: Outbox):
    topics = Topics("sound-monitor")
    async with running(MqttSink(config_for(broker), outbox, **FAST)) as sink:
        for source in ("hall", "hall_2"):
            sink.set_source_status(source, True)
            for name in ("dog_bark", "dog"):
                sink.set_state(source, name, False)
                sink.retain(topics.attributes(source, name), b"{}")
        await until(lambda: not sink.retained.untold and sink.connected)
        sink.retain_only(topics.retained([("hall", None), ("hall", "dog_bark")]))
        await until(lambda: "hall_2/status', ... (0 bytes)" in broker.log)
    assert set(await retained(broker)) == {
        *("status", "hall/status", "hall/dog_bark/state", "hall/dog_bark/attributes"),
    }


async def test_states_are_told_before_the_monitor_is_called_online(broker: Mosquitto, outbox: Outbox):
    """Nobody is to act on the stale `ON` that a broker kept."""
    subprocess.run(
        [
            "mosquitto_pub",
            "-p",
            str(broker.port),
            "-r",
            "-t",
            "sound-monitor/hall/dog_bark/state",
            "-m",
            "ON",
        ],
        check=True,
    )
    sink = MqttSink(config_for(broker), outbox, **FAST)
    for number in range(100):
        sink.set_state("hall", f"event_{number}", False)
    sink.set_state("hall", "dog_bark", False)
    async with Receiver(broker) as receiver, running(sink):
        await until(lambda: receiver.last("status") == "online")
        topics = [topic for topic, _, _ in receiver.messages]
        assert len(topics) == 1 + 101 + 1
        assert topics[-1] == "sound-monitor/status"
        assert receiver.last("hall/dog_bark/state") == "OFF"


async def test_scores_and_levels_are_numbers_and_not_kept_for_later(broker: Mosquitto, outbox: Outbox):
    async with Receiver(broker) as receiver:
        sink = MqttSink(config_for(broker), outbox, **FAST)
        sink.set_score("hall", "dog_bark", 0.1)  # nobody is there to hear it
        async with running(sink):
            await until(lambda: sink.connected)
            sink.set_score("hall", "dog_bark", 0.123456)
            sink.set_level("hall", float("-inf"))
            sink.set_level("yard", -42.04)
            await sink.publish(an_event(1))
            await delivered(outbox)
        await until(lambda: receiver.events and receiver.messages[-1][1] == "offline")
    numbers = [(t, p) for t, p, _ in receiver.messages if "score" in t or "level" in t]
    assert numbers == [
        ("sound-monitor/hall/dog_bark/score", "0.1235"),
        ("sound-monitor/hall/level_dbfs", "-120.0"),
        ("sound-monitor/yard/level_dbfs", "-42.0"),
    ]


async def test_a_killed_monitor_is_called_offline_by_its_will(broker: Mosquitto, tmp_path: Path):
    async with Receiver(broker) as receiver:
        with ForkServer() as server:
            arguments = (broker.port, tmp_path / "outbox.db", "a", 100_000)
            publisher = server.start("mqtt_publisher:main", *arguments, output=tmp_path / "out")
            await until(lambda: receiver.last("status") == "online")
            os.kill(publisher, signal.SIGKILL)
            await until(lambda: receiver.last("status") == "offline")
    assert (await retained(broker))["status"] == "offline"


async def test_stop_flushes_says_offline_and_ends_within_its_time(broker: Mosquitto, outbox: Outbox):
    async with Receiver(broker) as receiver:
        async with running(MqttSink(config_for(broker), outbox, **FAST)) as sink:
            await until(lambda: sink.connected)
            for number in range(200):
                await outbox.put(an_event(number))
            began = time.monotonic()
            await sink.stop(5.0)
            assert time.monotonic() - began < 3.0
            assert outbox.backlog.pending == 0
            assert not sink.connected
        await until(lambda: receiver.last("status") == "offline")
        assert len(receiver.events) == 200
    assert "Received DISCONNECT from sound-monitor" in broker.log


@pytest.mark.parametrize("waiting", [0, 3, 500])
async def test_stop_keeps_its_time_though_the_broker_hangs(broker: Mosquitto, outbox: Outbox, waiting: int):
    """What it couldn't say, the broker says for it: the connection is cut, which brings the will."""
    sink = MqttSink(config_for(broker), outbox, environ={})
    async with Receiver(broker) as receiver:
        async with asyncio.TaskGroup() as group:
            group.create_task(sink.run())
            await until(lambda: receiver.last("status") == "online")
            broker.freeze()
            for number in range(waiting):
                await sink.publish(an_event(number))
            began = time.monotonic()
            await sink.stop(1.0)
            assert time.monotonic() - began < 1.5
        assert outbox.backlog.pending == waiting
        broker.thaw()
        await until(lambda: receiver.last("status") == "offline")
    assert (await retained(broker))["status"] == "offline"


async def test_stop_returns_at_once_where_there_is_no_broker(outbox: Outbox, caplog):
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        for port in (free_port(), silent.getsockname()[1]):
            sink = MqttSink(MqttConfig(broker="127.0.0.1", port=port), outbox, environ={})
            async with asyncio.TaskGroup() as group:
                group.create_task(sink.run())
                await outbox.put(an_event(port))
                await asyncio.sleep(0.05)
                began = time.monotonic()
                await sink.stop(5.0)
                assert time.monotonic() - began < 0.5
    assert warnings(caplog)[-1] == "MQTT: 2 events wait in the outbox for the next start"


async def test_a_cancelled_sink_lets_the_will_speak(broker: Mosquitto, outbox: Outbox):
    """As when another part of the monitor fails and takes all down."""
    sink = MqttSink(config_for(broker), outbox, **FAST)
    task = asyncio.create_task(sink.run())
    await until(lambda: sink.connected and "'sound-monitor/status'" in broker.log)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: "sound-monitor closed its connection" in broker.log)
    assert (await retained(broker))["status"] == "offline"
    await sink.stop()


async def test_a_sink_cancelled_while_connecting_leaves_no_connection_behind(
    broker: Mosquitto, outbox: Outbox
):
    """A left-over connection would keep the client id from the next sink."""
    async with Link(broker.port) as link:
        config = config_for(broker, port=link.port)
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.03):
            link.delay_seconds = 0.01
            task = asyncio.create_task(MqttSink(config, outbox, **FAST).run())
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: not link._writers)
