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
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import MappingProxyType

from monitor.config import MqttConfig
from monitor.errors import SinkError
from monitor.outbox import Outbox, Waiting
from monitor.sinks import messages
from monitor.sinks.connection import Connection, Message, broker_name, connect
from monitor.sinks.messages import Topics
from monitor.types import Event

_log = logging.getLogger(__name__)

_WINDOW = 16
"""Messages of a kind on their way at a time; brokers commonly accept 20."""
_POLL_SECONDS = 5.0
_SHORT_LIVED = 3


class MqttSink:
    """Publishes; `run` it as a task, `stop` it before the outbox is closed."""

    def __init__(
        self,
        config: MqttConfig,
        outbox: Outbox,
        *,
        environ: Mapping[str, str] = os.environ,
        answer_seconds: float = 10.0,
        retry_seconds: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        """`answer_seconds`: how long the broker may take; `retry_seconds`: first and longest pause."""
        self._config = config
        self._outbox = outbox
        self._environ = environ
        self._answer_seconds = answer_seconds
        self._topics = Topics(config.prefix)
        self._outage = Outage(config, *retry_seconds)
        self._retained: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._numbers: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._stop_requested = asyncio.Event()
        self._flush_seconds = 0.0
        self._stopped = asyncio.Event()
        self._stopped.set()
        self.connected = False
        """The broker has accepted the connection and it isn't known to be broken."""
        self.publish_failures = 0
        """Messages that the broker didn't acknowledge; they are sent again."""

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

    def set_state(
        self, source: str, event: str, on: bool, attributes: Mapping[str, object] | None = None
    ) -> None:
        """Tell whether an event lasts, where no event of the outbox tells it (at the start: not)."""
        if attributes is not None:
            self.retain(self._topics.attributes(source, event), messages.to_json(attributes))
        self.retain(self._topics.state(source, event), messages.ON if on else messages.OFF)

    def set_source_status(self, source: str, online: bool) -> None:
        """Tell whether a source delivers sound."""
        self.retain(self._topics.source_status(source), messages.ONLINE if online else messages.OFFLINE)

    def forget(self, source: str, event: str | None = None) -> None:
        """Remove an event that is no longer listened for, or a whole source, from the broker."""
        below = f"{self._topics.prefix}/{source}/" + (f"{event}/" if event else "")
        for topic in [topic for topic in self._retained if topic.startswith(below)]:
            self.retain(topic, b"")

    def set_score(self, source: str, event: str, score: float) -> None:
        """Publish a smoothed score, if scores are wanted and the broker is there."""
        self._set_number(self._topics.score(source, event), messages.score_payload(score))

    def set_level(self, source: str, level_dbfs: float) -> None:
        """Publish a level, if scores are wanted and the broker is there."""
        self._set_number(self._topics.level(source), messages.level_payload(level_dbfs))

    def retain(self, topic: str, payload: bytes) -> None:
        """Have the broker hold `payload` at `topic` from now on; empty removes it."""
        if self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._dirty[topic] = None
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
        if self._config.publish_scores and self.connected:
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
                    watching = group.create_task(link.lost(), name="mqtt-loss")
                    await self._tell_everything(link)
                    await self._send_until_stopped(link)
                    await link.publish(farewell)
                    watching.cancel()
            finally:
                self.connected = False
                self._numbers.clear()

    async def _tell_everything(self, link: Connection) -> None:
        """Send all states before `online`, so that nobody acts on what the broker still had."""
        self._dirty = dict.fromkeys(self._retained)
        while self._dirty:
            await self._send(link, self._changed_states())
        await link.publish(Message(self._topics.status, messages.ONLINE, retained=True))

    async def _send_until_stopped(self, link: Connection) -> None:
        while True:
            self._wake.clear()
            waiting = await self._outbox.peek(_WINDOW) if self._outbox.backlog.pending else []
            states = self._changed_states()
            numbers, self._numbers = self._numbers, {}
            if waiting or states or numbers:
                await self._send(link, states, waiting, numbers)
            elif self._stop_requested.is_set():
                return
            else:
                with suppress(TimeoutError):  # an outbox that couldn't be read is looked at again
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wake.wait()

    def _changed_states(self) -> list[Message]:
        topics = list(islice(self._dirty, _WINDOW))
        for topic in topics:
            del self._dirty[topic]
        return [Message(topic, self._retained[topic], retained=True) for topic in topics]

    async def _send(
        self,
        link: Connection,
        states: Sequence[Message],
        waiting: Sequence[Waiting] = (),
        numbers: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Send all at once, in this order; events that are acknowledged leave the outbox."""
        acked: list[int] = []

        async def deliver(message: Message, id_: int | None = None) -> None:
            try:
                await link.publish(message)
            except BaseException:
                self.publish_failures += 1
                raise
            if id_ is not None:
                acked.append(id_)

        try:
            async with asyncio.TaskGroup() as group:
                for message in states:
                    group.create_task(deliver(message))
                for each in waiting:
                    topic = self._topics.event(each.event.source)
                    group.create_task(deliver(Message(topic, messages.event_payload(each.event)), each.id))
                for topic, payload in numbers.items():
                    group.create_task(deliver(Message(topic, payload, qos=0)))
        finally:
            if acked:
                await self._outbox.ack(acked)


async def subscribe(
    config: MqttConfig,
    topics: Sequence[str],
    *,
    environ: Mapping[str, str] = os.environ,
    retry_seconds: tuple[float, float] = (1.0, 60.0),
) -> AsyncIterator[Message]:
    """Yield what the broker publishes, retained messages first, for ever; reconnects."""
    outage = Outage(config, *retry_seconds)
    client_id = f"{config.client_id}-{secrets.token_hex(4)}"
    while True:
        try:
            async with connect(config, client_id=client_id, environ=environ) as link:
                await link.subscribe(*topics)
                outage.over()
                async for message in link.messages():
                    yield message
        except SinkError as error:
            await asyncio.sleep(outage.failed(error))


class Outage:
    """Paces attempts, with jitter; tells each new cause once, and the end.

    A connection counts as steady after ten times the first pause; one that broke sooner starts nothing anew.
    """

    def __init__(self, config: MqttConfig, first_seconds: float, longest_seconds: float) -> None:
        self._config = config
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._pause_seconds = first_seconds
        self._since: float | None = None
        self._connected_at: float | None = None
        self._short_lived = 0
        self._announced = False
        self._told: set[str] = set()
        self.cause: str | None = None

    def over(self) -> None:
        """Note that the connection is made."""
        self._connected_at = time.monotonic()
        again = "" if self._since is None else f", after {self._connected_at - self._since:.0f} s without"
        self._announced = self._short_lived < _SHORT_LIVED
        _log.log(
            logging.INFO if self._announced else logging.DEBUG,
            "connected to %s%s",
            *(broker_name(self._config), again),
        )
        self._since = None
        self.cause = None

    def failed(self, error: BaseException) -> float:
        """Note that an attempt failed or a connection broke; return the seconds to wait now."""
        now = time.monotonic()
        if self._connected_at is not None:
            self._note_loss(now - self._connected_at)
            self._connected_at = None
        if self._since is None:
            self._since = now
        self.cause = str(error)
        pause_seconds = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._pause_seconds = min(2.0 * self._pause_seconds, self._longest_seconds)
        _log.log(
            logging.WARNING if self._announced or self.cause not in self._told else logging.DEBUG,
            "%s (trying again, next in %.1f s)",
            *(self.cause, pause_seconds),
        )
        self._announced = False
        self._told.add(self.cause)
        return pause_seconds

    def _note_loss(self, lasted_seconds: float) -> None:
        if lasted_seconds >= 10.0 * self._first_seconds:
            self._pause_seconds = self._first_seconds
            self._short_lived = 0
            self._told.clear()
            return
        self._short_lived += 1
        if self._short_lived == _SHORT_LIVED:
            _log.warning(
                "%s: closes every connection soon; does another client use the client id %r?",
                *(broker_name(self._config), self._config.client_id),
            )
