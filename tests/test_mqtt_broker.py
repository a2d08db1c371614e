"""The broker inside the process: what a first run meets, and what clients must not be able to do to it."""

import asyncio
import gc
import logging
import random
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from amqtt.errors import AMQTTError, ProtocolHandlerError
from mosquitto import free_port
from mqtt_kit import an_event, delivered, memory_folder, running, until

from monitor import log
from monitor.config import LogConfig, MqttConfig
from monitor.errors import SinkError
from monitor.outbox import Outbox
from monitor.sinks.broker import EmbeddedBroker, _quietly, _Writer
from monitor.sinks.connection import Message, connect
from monitor.sinks.mqtt import MqttSink, subscribe

pytestmark = pytest.mark.real


@asynccontextmanager
async def listening(config: MqttConfig) -> AsyncIterator[list[Message]]:
    """Collect what the broker tells, from the subscription on."""
    seen: list[Message] = []

    async def collect() -> None:
        async for message in subscribe(config, ["#"], environ={}, retry_seconds=(0.05, 0.1)):
            seen.append(message)  # noqa: PERF401 - endless

    async with asyncio.TaskGroup() as group:
        task = group.create_task(collect())
        async with connect(config, client_id="probe", environ={}) as probe:
            while not seen:
                await probe.publish(Message("probe", b"?"))
                await asyncio.sleep(0.01)
        seen.clear()
        yield seen
        task.cancel()


async def test_a_first_run_needs_no_other_broker():
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker:
        config = MqttConfig(port=broker.port, version="5", publish_scores=True)
        with memory_folder() as folder:
            async with Outbox(folder / "outbox.db") as outbox, listening(config) as seen:
                sink = MqttSink(config, outbox, environ={})
                async with running(sink):
                    sink.set_state("hall", "dog_bark", False)
                    sink.set_source_status("hall", True)
                    for number in range(1000):
                        await sink.publish(an_event(number))
                    await delivered(outbox)
                    await until(lambda: sum(m.topic == "sound-monitor/hall/event" for m in seen) == 1000)
                    assert [m.payload.split(b'"')[3] for m in seen if m.topic.endswith("/event")] == [
                        f"hall-{number}".encode() for number in range(1000)
                    ]
                async with listening(config):
                    pass
                late = subscribe(config, ["sound-monitor/#"], environ={})
                found = [await anext(late) for _ in range(4)]
                await late.aclose()
                assert all(message.retained for message in found)
                states = {m.topic.removeprefix("sound-monitor/"): m.payload for m in found}
                assert states["status"] == b"offline"
                assert states["hall/status"] == b"online"
                assert states["hall/dog_bark/state"] == b"ON"
    assert len(asyncio.all_tasks()) == 1, "nothing is left behind"


async def test_a_will_is_published_when_its_client_is_cut_off():
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker:
        config = MqttConfig(port=broker.port)
        async with listening(config) as seen:
            will = Message("sound-monitor/status", b"offline", retained=True)

            async def fail() -> None:
                async with connect(config, will=will, environ={}) as link:
                    await link.publish(Message("sound-monitor/status", b"online", retained=True))
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fail()
            await until(lambda: len(seen) == 2)
            assert [message.payload for message in seen] == [b"online", b"offline"]


async def test_a_client_that_is_lost_as_soon_as_it_has_come_is_gone_and_its_will_is_published():
    connect_with_will = bytes.fromhex("00044d515454040600000005") + b"brief" + b"\0\x01w" + b"\0\x01x"
    async with (
        EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker,
        listening(MqttConfig(port=broker.port)) as seen,
    ):
        for number in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(bytes([0x10, len(connect_with_will)]) + connect_with_will)
            writer.close()
            await until(lambda: sum(message.topic == "w" for message in seen) == number + 1)  # noqa: B023
        await until(lambda: len(broker._clients) == 1)


async def test_taken_ports_are_passed_over_and_said(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    config = MqttConfig(port=free_port())
    async with EmbeddedBroker(config, environ={}) as first, EmbeddedBroker(config, environ={}) as second:
        assert first.port == config.port
        assert second.port > first.port
        for broker in (first, second):
            async with connect(MqttConfig(port=broker.port), environ={}) as link:
                await link.publish(Message("x", b"y"))
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [f"embedded MQTT broker: port {first.port} is taken, using {second.port}"]


async def test_twenty_taken_ports_are_an_error_with_its_remedy():
    async with AsyncExitStack() as stack:
        for _ in range(50):
            first = random.Random(time.monotonic_ns()).randrange(20_000, 60_000)
            try:
                for port in range(first, first + 20):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            break
        with pytest.raises(SinkError) as caught:
            await stack.enter_async_context(EmbeddedBroker(MqttConfig(port=first), environ={}))
        assert str(caught.value) == (
            f"embedded MQTT broker: ports {first} to {first + 19} are taken; set mqtt.port"
        )


async def test_it_listens_on_loopback_only():
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker:
        assert {bound.getsockname()[0] for bound in broker._server.sockets} == {"127.0.0.1"}


async def test_a_password_that_is_set_is_asked_for():
    config = MqttConfig(port=free_port(), username="home", password="right")
    async with EmbeddedBroker(config, environ={}) as broker:
        config = config.model_copy(update={"port": broker.port})
        async with connect(config, environ={}) as link:
            await link.publish(Message("x", b"y"))
        for wrong in (
            config.model_copy(update={"password": "wrong"}),
            config.model_copy(update={"username": "other"}),
            MqttConfig(port=broker.port),
        ):
            with pytest.raises(SinkError, match=r"refuses (user|clients)"):
                async with connect(wrong, environ={}):
                    pass


@asynccontextmanager
async def complaints() -> AsyncIterator[list[str]]:
    """Collect what the event loop would complain about."""
    loop, found = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: found.append(str(context)))
    yield found
    loop.set_exception_handler(None)


async def test_strange_bytes_harm_nobody(caplog: pytest.LogCaptureFixture):
    dice = random.Random(1)
    connect_packet = bytes.fromhex("101000044d5154540402003c0004") + b"abcd"
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker, complaints() as found:
        config = MqttConfig(port=broker.port)
        async with listening(config) as seen, connect(config, environ={}) as link:
            for number in range(600):
                _reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
                noise = dice.randbytes(dice.randrange(1, 80))
                writer.write(
                    [
                        noise,
                        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                        b"\x10" + bytes([dice.randrange(2, 40)]) + b"\x00\x04MQTT\x04" + noise,
                        connect_packet + noise,
                        connect_packet + b"\x30\x04\x00\x02$S" + noise,
                    ][number % 5]
                )
                if number % 2:
                    await asyncio.sleep(0.001)
                writer.close()
            await link.publish(Message("still", b"there"))
            await until(lambda: any(message.topic == "still" for message in seen))
        await until(lambda: not broker._clients)
    assert [text for text in found if "client_connected_cb" in text] == []
    assert not [record for record in caplog.records if record.name.startswith(("amqtt", "transitions"))]


async def test_a_probe_of_the_port_is_no_line_in_the_log_of_the_daemon(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        log.setup(LogConfig())
        async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker:
            _reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            await until(lambda: broker._clients)
            writer.close()
            await until(lambda: not broker._clients)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"info sinks.broker: embedded MQTT broker at 127.0.0.1:{broker.port}")


async def test_a_client_that_publishes_at_a_quality_of_service_that_is_none_is_dropped():
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker, complaints() as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(bytes.fromhex("101000044d5154540402003c0004") + b"dead")
        assert await reader.readexactly(4) == bytes.fromhex("20020000")
        writer.write(bytes.fromhex("360c0003612f6200076865") + b"llo")
        assert await reader.read() == b""
        writer.close()
        await until(lambda: not broker._clients)
        gc.collect()
    assert found == []


async def test_answers_to_a_client_that_is_gone_are_complained_of_nowhere(caplog: pytest.LogCaptureFixture):
    """A client that asked for many, and left."""
    connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: connected.put_nowait(writer), "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()):
            accepted = await connected.get()
        accepted.transport.abort()
        answers = _Writer(accepted)
        for _ in range(20):
            answers.write(b"\xd0\x00")
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("failure", [AMQTTError("full"), ProtocolHandlerError("cancelled"), OSError("gone")])
async def test_what_fails_for_a_lost_client_is_nobodys_traceback(failure: Exception):
    async def handle(_: object) -> None:
        raise failure

    async with complaints() as found:
        task = asyncio.create_task(_quietly(handle)(None))
        await asyncio.wait([task])
        del task
        gc.collect()
    assert found == []


async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch):
    """Else what it doesn't read would fill memory."""
    monkeypatch.setattr(sys.modules["monitor.sinks.broker"], "_UNREAD_SECONDS", 0.3)
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker:
        _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(bytes.fromhex("101000044d5154540402003c0004") + b"dead")
        writer.write(bytes.fromhex("8206000100012300"))
        await until(lambda: len(broker._clients) == 1)
        await asyncio.sleep(0.1)
        writer.transport.pause_reading()
        async with connect(MqttConfig(port=broker.port), environ={}) as link:
            deadline = time.monotonic() + 20
            while len(broker._clients) == 2:
                assert time.monotonic() < deadline
                await link.publish(Message("sound-monitor/hall/event", bytes(50_000)))
        writer.transport.abort()


class Hasty:
    """asyncio, where a hundredth of a second is a second."""

    def __getattr__(self, name: str):
        return getattr(asyncio, name)

    async def wait_for(self, awaited, timeout: float):  # noqa: ASYNC109 - its name in asyncio
        return await asyncio.wait_for(awaited, timeout / 100.0)


async def test_a_client_that_acknowledges_nothing_is_complained_of_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("amqtt.mqtt.protocol.handler.asyncio", Hasty())
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker, complaints() as found:
        async with connect(MqttConfig(port=broker.port), environ={}) as link:
            await link.publish(Message("a/kept", b"1", retained=True))
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(bytes.fromhex("101000044d5154540402003c0004") + b"mute")
            writer.write(bytes.fromhex("820800010003") + b"a/#\x01")
            async with asyncio.timeout(10):
                await reader.readuntil(b"a/kept")
                await link.publish(Message("a/new", b"2"))
                await reader.readuntil(b"a/new")
            await asyncio.sleep(0.2)  # longer than it waits for the acknowledgements
            writer.close()
            await link.publish(Message("still", b"there"))
        await until(lambda: not broker._clients)
    gc.collect()
    assert found == []


async def test_more_clients_than_it_takes_are_turned_away():
    async with EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker:
        writers = [(await asyncio.open_connection("127.0.0.1", broker.port))[1] for _ in range(64)]
        await until(lambda: len(broker._clients) == 64)
        with pytest.raises(SinkError, match="closes the connection at once"):
            async with connect(MqttConfig(port=broker.port), environ={}):
                pass
        for writer in writers:
            writer.close()
        await until(lambda: not broker._clients)
        async with connect(MqttConfig(port=broker.port), environ={}) as link:
            await link.publish(Message("x", b"y"))


async def test_it_ends_at_once_with_clients_connected():
    async with AsyncExitStack() as stack:
        broker = EmbeddedBroker(MqttConfig(port=free_port()), environ={})
        await broker.__aenter__()
        config = MqttConfig(port=broker.port)
        await stack.enter_async_context(listening(config))
        began = time.monotonic()
        await broker.__aexit__()
        assert time.monotonic() - began < 1.0
        with pytest.raises(SinkError, match="nothing listens there"):
            async with connect(config, environ={}):
                pass
