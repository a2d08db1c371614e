"""Events, states and availability over MQTT: reconnects for ever, loses no event, tells states as they are.

Events come out of the outbox in order and leave it when the broker has acknowledged them: at least once.
States are never queued: what changed is sent as it is when its turn comes, and everything is sent again on
every connect, because a broker may have forgotten it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from monitor.config import MqttConfig
from monitor.errors import SinkError
from monitor.outbox import Outbox, Waiting
from monitor.sinks import messages
from monitor.sinks.commands import Commands
from monitor.sinks.connection import Connection, Message, RefusedError, connect
from monitor.sinks.discovery import birth_topic
from monitor.sinks.messages import Topics
from monitor.sinks.outage import Outage
from monitor.sinks.retained import Retained
from monitor.types import Event

_log = logging.getLogger(__name__)

_WINDOW = 16
"""Messages of a kind on their way at a time; brokers commonly accept 20."""
_POLL_SECONDS = 5.0


class MqttSink:
    """Publishes; `run` it as a task, `stop` it before the outbox is closed."""

    def __init__(
        self,
        config: MqttConfig,
        outbox: Outbox,
        *,
        retained: Retained | None = None,
        environ: Mapping[str, str] = os.environ,
        answer_seconds: float = 10.0,
        retry_seconds: tuple[float, float] = (1.0, 60.0),
        birth_seconds: tuple[float, float] = (0.5, 5.0),
    ) -> None:
        """Be ready to run.

        `answer_seconds`: how long the broker may take; `retry_seconds`: first and longest pause;
        `birth_seconds`: bounds of the random pause after which a Home Assistant that has started is told all.
        """
        self._config = config
        self._outbox = outbox
        self._environ = environ
        self._answer_seconds = answer_seconds
        self._topics = Topics(config.prefix)
        self._outage = Outage(config, *retry_seconds)
        self._birth_seconds = birth_seconds
        self._birth: asyncio.TimerHandle | None = None
        self._refused: set[str] = set()
        self.commands = Commands(self._topics)
        """What others ask for."""
        self.retained = retained or Retained()
        """What the broker is to hold."""
        self._numbers: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._stop_requested = asyncio.Event()
        self._flush_seconds = 0.0
        self._stopped = asyncio.Event()
        self._stopped.set()
        self.connected = False
        """The broker has accepted the connection and it isn't known to be broken."""
        self.publish_failures = 0
        """Messages that the broker didn't take; events are sent again, and states when they change."""

    @property
    def last_error(self) -> str | None:
        """What keeps the connection from being made; None while there is one."""
        return self._outage.cause

    async def publish(self, event: Event) -> None:
        """Put an event into the outbox, to be published with the state that it leads to."""
        await self._outbox.put(event)
        self.retain(self._topics.attributes(event.source, event.name), messages.attributes_payload(event))
        self.retain(self._topics.state(event.source, event.name), messages.state_payload(event))
        self._wake.set()

    def set_state(self, source: str, event: str, on: bool) -> None:
        """Tell whether an event lasts, where no event of the outbox tells it (at the start: not)."""
        self.retain(self._topics.state(source, event), messages.ON if on else messages.OFF)

    def set_source_status(self, source: str, online: bool) -> None:
        """Tell whether a source delivers sound."""
        self.retain(self._topics.source_status(source), messages.ONLINE if online else messages.OFFLINE)

    def set_score(self, source: str, event: str, score: float) -> None:
        """Publish a smoothed score, if the broker is there."""
        self._set_number(self._topics.score(source, event), messages.score_payload(score))

    def set_level(self, source: str, level_dbfs: float) -> None:
        """Publish a level, if the broker is there."""
        self._set_number(self._topics.level(source), messages.level_payload(level_dbfs))

    def retain(self, topic: str, payload: bytes) -> None:
        """Have the broker hold `payload` at `topic` from now on; empty removes it."""
        if self.retained.set(topic, payload):
            self._wake.set()

    def retain_only(self, topics: Iterable[str]) -> None:
        """Have the broker hold nothing of ours but these topics from now on."""
        self.retained.want(topics)
        self._wake.set()

    async def run(self) -> None:
        """Stay connected and publish until `stop`; only bugs raise."""
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as group:
                staying = group.create_task(self._stay_connected(), name="mqtt")
                await self._stop_requested.wait()
                if self.connected:
                    await asyncio.wait({staying}, timeout=self._flush_seconds)
                staying.cancel()
        finally:
            self._stopped.set()

    async def stop(self, flush_seconds: float = 5.0) -> None:
        """Publish what waits, say `offline` and disconnect, all within `flush_seconds`.

        Where that isn't enough, the connection is cut, which makes the broker say `offline`; events stay in
        the outbox.
        """
        self._flush_seconds = flush_seconds
        self._stop_requested.set()
        self._wake.set()
        await self._stopped.wait()
        if waiting := self._outbox.backlog.pending:
            _log.warning("MQTT: %d events wait in the outbox for the next start", waiting)

    def _set_number(self, topic: str, payload: bytes) -> None:
        if self.connected:
            self._numbers[topic] = payload
            self._wake.set()

    async def _stay_connected(self) -> None:
        while not self._stop_requested.is_set():
            failure: BaseException | None = None
            try:
                await self._hold_a_connection()
            except* SinkError as failures:
                failure = failures
            while isinstance(failure, BaseExceptionGroup):
                failure = failure.exceptions[0]
            if failure:
                await asyncio.sleep(self._outage.failed(failure))

    async def _hold_a_connection(self) -> None:
        farewell = Message(self._topics.status, messages.OFFLINE, retained=True)
        async with connect(
            self._config, will=farewell, answer_seconds=self._answer_seconds, environ=self._environ
        ) as link:
            self.connected = True
            self._outage.over()
            try:
                async with asyncio.TaskGroup() as group:
                    listening = group.create_task(self._listen(link), name="mqtt-incoming")
                    await self._subscribe(link)
                    await self._tell_everything(link)
                    await self._send_until_stopped(link)
                    await self._tell(link, farewell)
                    listening.cancel()
            finally:
                self.connected = False
                if self._birth:
                    self._birth.cancel()
                self._numbers.clear()

    async def _subscribe(self, link: Connection) -> None:
        topics = [*self.commands.filters]
        if self._config.homeassistant.enabled:
            topics.append(birth_topic(self._config))
        try:
            await link.subscribe(*topics)
        except RefusedError as error:  # events are told all the same
            self._warn_once(f"{error}; until then, nothing can be switched over MQTT")

    def _warn_once(self, refusal: str) -> None:
        _log.log(logging.DEBUG if refusal in self._refused else logging.WARNING, "%s", refusal)
        self._refused.add(refusal)

    async def _listen(self, link: Connection) -> None:
        """Take what comes in until the connection breaks, which raises."""
        async for message in link.messages():
            if message.topic != birth_topic(self._config):
                self.commands.take(message)
            elif message.payload == messages.ONLINE and not message.retained:
                if self._birth:
                    self._birth.cancel()
                # Not all devices of a house at once.
                pause_seconds = random.uniform(*self._birth_seconds)  # noqa: S311 - no secret
                self._birth = asyncio.get_running_loop().call_later(pause_seconds, self._resend)

    def _resend(self) -> None:
        self.retained.resend()
        self._wake.set()

    async def _tell_everything(self, link: Connection) -> None:
        """Send all states before `online`, so that nobody acts on what the broker still had."""
        await self.retained.remember(self._topics.status)
        self.retained.resend()
        while self.retained.untold:
            await self._send(link, self.retained.take(_WINDOW))
        await self._tell(link, Message(self._topics.status, messages.ONLINE, retained=True))

    async def _send_until_stopped(self, link: Connection) -> None:
        while True:
            self._wake.clear()
            waiting = await self._outbox.peek(_WINDOW) if self._outbox.backlog.pending else []
            states = self.retained.take(_WINDOW)
            numbers, self._numbers = self._numbers, {}
            if waiting or states or numbers:
                await self._send(link, states, waiting, numbers)
            elif self._stop_requested.is_set():
                return
            else:
                with suppress(TimeoutError):  # an outbox that couldn't be read is looked at again
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wake.wait()

    async def _send(
        self,
        link: Connection,
        states: Sequence[Message],
        waiting: Sequence[Waiting] = (),
        numbers: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Send all at once, in this order; events that are acknowledged leave the outbox."""
        acked: list[int] = []
        held: list[Message] = []
        await self.retained.remember()

        async def deliver(each: Waiting) -> None:
            topic = self._topics.event(each.event.source)
            await self._publish(link, Message(topic, messages.event_payload(each.event)))
            acked.append(each.id)

        async def retain(state: Message) -> None:
            if await self._tell(link, state):
                held.append(state)

        try:
            async with asyncio.TaskGroup() as group:
                for state in states:
                    group.create_task(retain(state))
                for each in waiting:
                    group.create_task(deliver(each))
                for topic, payload in numbers.items():
                    group.create_task(self._publish(link, Message(topic, payload, qos=0)))
        finally:
            if acked:
                await self._outbox.ack(acked)
        await self.retained.acknowledged(held)

    async def _tell(self, link: Connection, message: Message) -> bool:
        """Publish what isn't an event; return whether the broker took it, for others mustn't wait for it."""
        try:
            await self._publish(link, message)
        except RefusedError as error:
            announces = message.topic.startswith(f"{self._config.homeassistant.discovery_prefix}/")
            remedy = ", or set mqtt.homeassistant.enabled: false" if announces else ""
            if message.payload:  # whoever has followed the remedy needn't hear that nothing can be removed
                self._warn_once(f"{error}{remedy}")
            return False
        return True

    async def _publish(self, link: Connection, message: Message) -> None:
        try:
            await link.publish(message)
        except BaseException:
            self.publish_failures += 1
            raise


async def subscribe(
    config: MqttConfig,
    topics: Sequence[str],
    *,
    environ: Mapping[str, str] = os.environ,
    retry_seconds: tuple[float, float] = (1.0, 60.0),
    subscribed: Callable[[], None] = lambda: None,
) -> AsyncIterator[Message]:
    """Yield what the broker publishes, retained messages first, for ever; reconnects.

    `subscribed` is called at every connection.
    """
    outage = Outage(config, *retry_seconds)
    client_id = f"{config.client_id}-{secrets.token_hex(4)}"
    while True:
        try:
            async with connect(config, client_id=client_id, environ=environ) as link:
                await link.subscribe(*topics)
                outage.over()
                subscribed()
                async for message in link.messages():
                    yield message
        except SinkError as error:
            await asyncio.sleep(outage.failed(error))
