"""What the monitor obeys, and what it doesn't."""

import asyncio

import pytest

from monitor.sinks.commands import Command, Commands
from monitor.sinks.connection import Message
from monitor.sinks.messages import Topics

SWITCHES = [("hall", None), ("hall", "dog_bark"), ("set", None), ("set", "set")]


def commands():
    made = Commands(Topics("home/sounds"))
    made.know(SWITCHES)
    return made


@pytest.mark.parametrize(
    ("topic", "payload", "command"),
    [
        ("home/sounds/hall/set", b"OFF", Command("hall", None, on=False)),
        ("home/sounds/hall/dog_bark/set", b"ON", Command("hall", "dog_bark", on=True)),
        ("home/sounds/set/set", b"ON", Command("set", None, on=True)),
        ("home/sounds/set/set/set", b"OFF", Command("set", "set", on=False)),
    ],
)
async def test_a_command_turns_the_switch_that_its_topic_names(topic, payload, command):
    made = commands()
    made.take(Message(topic, payload))
    assert await made.next() == command


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (Message("home/sounds/hall/set", b"on"), "a command is ON or OFF"),
        (Message("home/sounds/hall/set", b""), "a command is ON or OFF"),
        (Message("home/sounds/hall/set", b"ON\0" * 1000), "a command is ON or OFF"),
        (Message("home/sounds/hall/set", b"\xff"), "a command is ON or OFF"),
        (Message("home/sounds/attic/set", b"ON"), "there is no such switch"),
        (Message("home/sounds/hall/thunder/set", b"ON"), "there is no such switch"),
        (Message("home/sounds/hall/set", b"OFF", retained=True), "a retained command is ignored"),
    ],
)
async def test_anything_else_is_told_once_and_turns_nothing(message, told, caplog):
    made = commands()
    for _ in range(3):
        made.take(message)
    made.take(Message("home/sounds/hall/set", b"ON"))
    assert await made.next() == Command("hall", None, on=True)
    assert [told in record.getMessage() for record in caplog.records] == [True]


def test_a_flood_of_strange_topics_is_not_logged_for_ever(caplog):
    made = commands()
    for number in range(1000):
        made.take(Message(f"home/sounds/x{number}/set", b"ON"))
    assert len(caplog.records) == len(made._complained) == 20


async def test_commands_are_obeyed_in_order_and_the_newest_for_a_switch_wins():
    made = commands()
    for payload in (b"OFF", b"ON", b"OFF"):
        made.take(Message("home/sounds/hall/set", payload))
        made.take(Message("home/sounds/hall/dog_bark/set", b"ON"))
    assert [await made.next(), await made.next()] == [
        Command("hall", None, on=False),
        Command("hall", "dog_bark", on=True),
    ]
    waiting = asyncio.create_task(made.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    made.take(Message("home/sounds/set/set", b"ON"))
    assert await waiting == Command("set", None, on=True)


def test_exactly_the_set_topics_are_subscribed_to():
    assert commands().filters == ("home/sounds/+/set", "home/sounds/+/+/set")
