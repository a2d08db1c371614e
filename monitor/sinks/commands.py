"""What others ask of the monitor over MQTT: switches to be turned, and Home Assistant's birth."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.sinks.connection import Message
from monitor.sinks.messages import OFF, ON, Topics

_log = logging.getLogger(__name__)

_MOST_COMPLAINTS = 20


@dataclass(frozen=True, slots=True)
class Command:
    """A switch to be turned; see `Pipeline.enable`."""

    source: str
    event: str | None
    on: bool


class Commands:
    """Commands that have come in and wait to be obeyed, at most one for each switch that there is."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._switches: dict[str, tuple[str, str | None]] = {}
        self._waiting: dict[tuple[str, str | None], bool] = {}
        self._news = asyncio.Event()
        self._complained: set[str] = set()

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return self._topics.command("+"), self._topics.command("+", "+")

    def know(self, switches: Iterable[tuple[str, str | None]]) -> None:
        """Have exactly these switches from now on."""
        self._switches = {self._topics.command(*switch): switch for switch in switches}

    def take(self, message: Message) -> None:
        """Take a message; what isn't a command for one of the switches is told, once for each cause."""
        switch = self._switches.get(message.topic)
        if switch is None:
            self._complain(f"{message.topic}: there is no such switch")
        elif message.retained:
            # It would turn the switch back at every connect.
            self._complain(f"{message.topic}: a retained command is ignored; publish it without retain")
        elif message.payload not in {ON, OFF}:
            self._complain(f"{message.topic}: a command is ON or OFF, nothing else")
        else:
            self._waiting.pop(switch, None)
            self._waiting[switch] = message.payload == ON
            self._news.set()

    async def next(self) -> Command:
        """Return the oldest command, when there is one."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        switch = next(iter(self._waiting))
        return Command(*switch, on=self._waiting.pop(switch))

    def _complain(self, text: str) -> None:
        told = text in self._complained or len(self._complained) >= _MOST_COMPLAINTS
        _log.log(logging.DEBUG if told else logging.WARNING, "MQTT: %s", text)
        if not told:
            self._complained.add(text)
