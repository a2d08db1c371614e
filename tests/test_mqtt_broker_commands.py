"""What a client publishes to the broker inside the process before it goes is handled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from mosquitto import free_port
from mqtt_kit import until

from monitor.config import MqttConfig
from monitor.sinks.broker import EmbeddedBroker
from monitor.sinks.connection import Connection, Message, connect

pytestmark = pytest.mark.real


PUBLISHES = b"".join(b"\x30\x19\0\x16sound-monitor/hall/set%d" % number for number in range(5))


@asynccontextmanager
async def commanded(port: int) -> AsyncIterator[list[str]]:
    """Collect commands as the daemon gets them."""
    seen: list[str] = []

    async def collect(link: Connection) -> None:
        async for message in link.messages():
            seen.append(message.payload.decode())  # noqa: PERF401 - endless

    async with connect(MqttConfig(port=port), environ={}) as link:
        for number in range(40):
            topic = f"sound-monitor/hall/event_{number}/state"
            await link.publish(Message(topic, b"OFF", retained=True))
        await link.subscribe("sound-monitor/+/set", "will")
        collecting = asyncio.create_task(collect(link))
        yield seen
        collecting.cancel()


async def test_a_command_that_is_published_and_not_waited_for_comes_through_though_somebody_watches():
    """A publisher that gets what the watcher asked for hangs up on it, and its command with it."""
    async with (
        EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker,
        commanded(broker.port) as seen,
    ):
        at = ("-p", str(broker.port))
        watcher = await asyncio.create_subprocess_exec(
            *("mosquitto_sub", *at, "-t", "sound-monitor/#"), stdout=asyncio.subprocess.PIPE
        )
        assert watcher.stdout
        await watcher.stdout.readline()
        sent = ["OFF", "ON"] * 5
        for word in sent:
            command = ("mosquitto_pub", *at, "-t", "sound-monitor/hall/set", "-m", word)
            await (await asyncio.create_subprocess_exec(*command)).wait()
        watcher.kill()
        await watcher.wait()
        await until(lambda: len(seen) == len(sent))
        assert seen == sent


@pytest.mark.parametrize(("goodbye", "will"), [(b"\xe0\0", []), (b"", ["gone"])], ids=["goodbye", "cut off"])
async def test_what_came_before_a_client_went_is_handled_in_order_and_before_its_will(
    goodbye: bytes, will: list[str]
):
    """Though it comes while the client is still being sent what it asked for."""
    with_will = bytes.fromhex("101c00044d51545404060000000464656164") + b"\0\4will\0\4gone"
    subscription = b"\x82\x14\0\1\0\x0fsound-monitor/#\1"
    async with (
        EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker,
        commanded(broker.port) as seen,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(with_will + subscription + PUBLISHES + goodbye)
        writer.write_eof()
        await reader.read()
        writer.close()
        await until(lambda: len(broker._clients) == 1)
        wanted = [*"01234", *will]
        await until(lambda: len(seen) >= len(wanted))
        assert seen == wanted


async def test_commands_that_come_in_one_piece_with_the_goodbye_are_handled():
    async with (
        EmbeddedBroker(MqttConfig(port=free_port()), environ={}) as broker,
        commanded(broker.port) as seen,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(bytes.fromhex("101000044d5154540402003c0004") + b"dead")
        await reader.readexactly(4)
        writer.write(PUBLISHES + b"\xe0\0")
        writer.close()
        await until(lambda: len(seen) == 5)
        assert seen == list("01234")
