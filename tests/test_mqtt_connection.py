"""One connection to a broker: what comes over it, and how its end is noticed and told."""

import asyncio
import gc
import threading
import time
from pathlib import Path

import aiomqtt
import pytest
from mosquitto import Mosquitto, mosquitto
from mqtt_kit import (
    FAST,
    an_event,
    broker,
    config_for,
    outbox,
    running,
    until,
    warnings,
)

from monitor.config import MqttConfig
from monitor.errors import SinkError
from monitor.outbox import Outbox
from monitor.sinks.connection import _Client, connect
from monitor.sinks.mqtt import MqttSink, subscribe

__all__ = ["broker", "outbox"]  # fixtures
pytestmark = pytest.mark.real


async def test_two_with_one_client_id_are_told_what_is_wrong(broker: Mosquitto, tmp_path: Path, caplog):
    config = config_for(broker)
    fast = {**FAST, "retry_seconds": (0.2, 0.4)}
    async with (
        Outbox(tmp_path / "a.db") as a,
        Outbox(tmp_path / "b.db") as b,
        running(MqttSink(config, a, **fast)),
        running(MqttSink(config, b, **fast)),
    ):
        hint = (
            f"MQTT broker 127.0.0.1:{broker.port}: closes every connection soon; "
            "does another client use the client id 'sound-monitor'?"
        )
        await until(lambda: hint in warnings(caplog))
        await asyncio.sleep(1.0)
        assert len(warnings(caplog)) < 12, "no flood of warnings"


async def test_subscribe_yields_retained_and_live_messages_over_restarts(broker: Mosquitto, outbox: Outbox):
    config = config_for(broker)
    seen: list[tuple[str, bytes, bool]] = []

    async def tail() -> None:
        async for message in subscribe(config, ["sound-monitor/#"], retry_seconds=(0.05, 0.1)):
            seen.append((message.topic, message.payload, message.retained))  # noqa: PERF401 - endless

    async with running(MqttSink(config, outbox, **FAST)) as sink:
        await until(lambda: sink.connected and "'sound-monitor/status'" in broker.log)
        task = asyncio.create_task(tail())
        await until(lambda: ("sound-monitor/status", b"online", True) in seen)
        await sink.publish(an_event(1))
        await until(lambda: any(topic == "sound-monitor/hall/event" for topic, _, _ in seen))
        broker.kill()
        broker.start()
        seen.clear()
        await until(lambda: any(payload == b"online" for _, payload, _ in seen))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_subscription_that_is_refused_is_told(tmp_path: Path, caplog):
    with mosquitto(tmp_path, users={"u": "p"}) as broker:
        config = config_for(broker, username="u", password="wrong")
        tail = subscribe(config, ["#"], environ={}, retry_seconds=(0.05, 0.1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(tail), 0.5)
        await tail.aclose()
    assert warnings(caplog)[0].endswith("check mqtt.username and the password")


async def test_a_connection_that_broke_raises(broker: Mosquitto):
    async def be_cut_off() -> None:
        async with connect(config_for(broker), environ={}) as link:
            broker.kill()
            async for _ in link.messages():
                pass

    async with asyncio.timeout(10):
        with pytest.raises(SinkError, match="the connection broke"):
            await be_cut_off()


@pytest.mark.parametrize("after", [b"", b"\x82\x02\x00\x01", b"\x30\x04\x00\x01ab" * 1000])
async def test_a_connection_lost_as_soon_as_it_was_accepted_is_noticed(after: bytes):
    async def accept_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"\x20\x02\x00\x00" + after)
        writer.close()

    server = await asyncio.start_server(accept_and_close, "127.0.0.1", 0)
    config = MqttConfig(broker="127.0.0.1", port=server.sockets[0].getsockname()[1])

    async def listen() -> None:
        async with asyncio.timeout(20), connect(config, environ={}) as link:
            async for _ in link.messages():
                pass

    for _ in range(20):
        with pytest.raises(SinkError):
            await listen()
    server.close()


async def test_a_broker_that_sends_nonsense_with_its_acceptance_is_left_at_once(caplog, monkeypatch):
    connecting = _Client._client_connect

    def connect_and_come_late(client: _Client) -> None:
        connecting(client)
        time.sleep(0.1)  # a busy machine's thread: everything has been read before anyone waits for it

    async def accept_and_babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"\x20\x02\x00\x00" + b"\x32\x07\x00\x03aK\x8d\x00\x01")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept_and_babble, "127.0.0.1", 0) as server:
        config = MqttConfig(broker="127.0.0.1", port=server.sockets[0].getsockname()[1])
        monkeypatch.setattr(_Client, "_client_connect", connect_and_come_late)
        async with asyncio.timeout(5):
            with pytest.raises(SinkError, match="sent what isn't MQTT after it had accepted"):
                async with connect(config, environ={}):
                    pass
    gc.collect()
    assert not caplog.records, "an error that nobody has looked at is told when it is collected"


async def test_a_connection_that_comes_when_the_loop_is_about_to_end_leaves_nothing_pending(
    broker: Mosquitto, caplog, monkeypatch
):
    started, abandoned = threading.Event(), threading.Event()
    connecting, abandoning = _Client._client_connect, _Client.abandon

    def connect_late(client: _Client) -> None:
        started.set()
        assert abandoned.wait(10)
        connecting(client)
        time.sleep(0.1)  # the loop, which waits for this thread before it ends, takes notice

    def abandon(client: _Client) -> None:
        abandoning(client)
        abandoned.set()

    async def give_up_while_connecting() -> None:
        async def link() -> None:
            async with connect(config_for(broker), environ={}):
                pass

        task = asyncio.create_task(link())
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        await asyncio.wait([task])

    lingering = []

    async def linger(client: aiomqtt.Client) -> None:
        lingering.append(client)

    monkeypatch.setattr(aiomqtt.Client, "_misc_loop", linger)
    monkeypatch.setattr(_Client, "_client_connect", connect_late)
    monkeypatch.setattr(_Client, "abandon", abandon)
    await asyncio.to_thread(asyncio.run, give_up_while_connecting())
    gc.collect()
    assert not lingering, "a task that sleeps, and is destroyed while it does if the loop ends just then"
    assert not caplog.records
