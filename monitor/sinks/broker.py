"""A small MQTT broker inside this process, so that a first run needs no server.

It listens on loopback only, keeps nothing on disk, and asks for the user name and password of `mqtt` when
they are set. amqtt speaks the protocol (3.1.1); the sockets are ours, so that a client that doesn't read
can't fill memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BaseContext
from amqtt.errors import AMQTTError, MQTTError, ProtocolHandlerError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from monitor.config import MqttConfig
from monitor.errors import SinkError
from monitor.sinks.connection import LOOPBACK, resolve_password

_log = logging.getLogger(__name__)
logging.getLogger("amqtt").setLevel(logging.CRITICAL)
logging.getLogger("transitions").setLevel(logging.CRITICAL)

_PORTS_TRIED = 20
_MOST_CLIENTS = 64
_UNREAD_SECONDS = 10.0
_SHUTDOWN_SECONDS = 2.0
_HIGHEST_QOS = 2
_HANDLED = (
    "subscribe", "unsubscribe", "publish", "puback", "pubrec", "pubrel", "pubcomp", "pingreq", "disconnect",
)  # fmt: skip
"""Packets of a client's that amqtt gives a task each."""

_LOST = (AMQTTError, MQTTError, ProtocolHandlerError, OSError)
"""What amqtt raises where a client is lost, or its packet nonsense."""
_Handle = Callable[[Any], Awaitable[None]]


class EmbeddedBroker:
    """Runs while entered; `port` is where."""

    def __init__(self, config: MqttConfig, *, environ: Mapping[str, str] = os.environ) -> None:
        self.port = config.port_in_force
        self._config = config
        self._environ = environ
        self._clients: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Start at the configured port or, where that is taken, at the next free one; raises SinkError."""
        password = await asyncio.to_thread(resolve_password, self._config, self._environ)
        doorkeeper = {"username": self._config.username, "password": password}
        self._broker = _Broker(
            {
                "listeners": {"default": {"type": "external"}},
                "plugins": {f"{__name__}.{Doorkeeper.__qualname__}": doorkeeper},
            }
        )
        await self._broker.start()
        wanted = self.port
        self._server = await self._listen(wanted)
        self.port = self._server.sockets[0].getsockname()[1]
        if self.port != wanted:
            _log.warning("embedded MQTT broker: port %d is taken, using %d", wanted, self.port)
        _log.info("embedded MQTT broker at %s:%d", LOOPBACK, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        try:
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await self._broker.shutdown()
        except TimeoutError:
            _log.debug("embedded MQTT broker: not all clients could be told")
        for client in list(self._clients):
            client.transport.abort()

    async def _listen(self, wanted: int) -> asyncio.Server:
        for port in range(wanted, min(wanted + _PORTS_TRIED, 65536)):
            try:
                return await asyncio.start_server(self._serve, LOOPBACK, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise SinkError(
                        f"embedded MQTT broker: {LOOPBACK}:{port}: {error.strerror}; set mqtt.port to another"
                    ) from None
        raise SinkError(
            f"embedded MQTT broker: ports {wanted} to {wanted + _PORTS_TRIED - 1} are taken; set mqtt.port"
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= _MOST_CLIENTS:
            writer.close()
            return
        self._clients.add(writer)
        try:
            await self._broker.external_connected(_Reader(reader), _Writer(writer), "default")
        finally:
            self._clients.discard(writer)
            writer.close()


class Doorkeeper(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets in whoever knows user name and password, or everybody on this machine where none are set."""

    @dataclass
    class Config:
        """What the broker hands to this plugin."""

        username: str | None = None
        password: str | None = None

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._config: Doorkeeper.Config = self.config

    async def authenticate(self, *, session: Session) -> bool:
        """Answer for one client."""
        session.is_anonymous = True  # its messages aren't collected for it while it is away
        if self._config.username is None and self._config.password is None:
            return True
        wanted = f"{self._config.username or ''}\n{self._config.password or ''}"
        given = f"{session.username or ''}\n{session.password or ''}"
        return hmac.compare_digest(given.encode(), wanted.encode())


def _quietly(handle: _Handle) -> _Handle:
    """Nobody asks what became of a packet's task: asyncio would log a traceback for every lost client."""

    async def handled(packet: Any) -> None:
        with contextlib.suppress(*_LOST):
            await handle(packet)

    return handled


class _Broker(Broker):  # type: ignore[misc]  # amqtt has no types
    async def _initialize_client_session(self, reader: Any, writer: Any, *peer: Any) -> tuple[Any, Session]:
        handler, session = await super()._initialize_client_session(reader, writer, *peer)
        publish = handler.handle_publish
        take = handler.mqtt_deliver_next_message

        async def deliver() -> bool:
            return await self._deliver(session, await take())

        async def handle_publish(packet: Any) -> None:
            if packet.qos > _HIGHEST_QOS:  # section 3.3.1.2: such a connection has to be closed
                await writer.close()
            else:
                await publish(packet)

        handler.handle_publish = handle_publish
        handler.mqtt_deliver_next_message = deliver  # in one step: none is taken and not yet handled
        for packet in _HANDLED:
            name = f"handle_{packet}"
            setattr(handler, name, _quietly(getattr(handler, name)))
        return handler, session

    async def _client_message_loop(self, client_session: Session, handler: Any) -> None:
        if handler._reader_stopped.is_set():  # noqa: SLF001 - there is no public way to ask
            # Lost as soon as it had come, before anyone waited for its end: nobody would ever hear of it.
            await handler.handle_connection_closed()
        await super()._client_message_loop(client_session, handler)

    async def _handle_message_delivery(self, client_session: Session, handler: Any, outcome: Any) -> bool:  # noqa: ARG002
        handled: bool = outcome.result()
        return handled

    async def _deliver(self, client_session: Session, message: Any) -> bool:
        taken = asyncio.get_running_loop().create_future()
        taken.set_result(message)
        handled: bool = await super()._handle_message_delivery(client_session, None, taken)
        return handled

    async def _handle_disconnect(self, client_session: Session, handler: Any, goodbye: Any) -> None:
        # What came before the goodbye, which amqtt would forget; and all of it before the will.
        waiting = client_session.delivered_message_queue
        while not waiting.empty() and await self._deliver(client_session, waiting.get_nowait()):
            pass
        await super()._handle_disconnect(client_session, handler, goodbye)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        # amqtt would send every new client what others have subscribed to: one that only publishes then hangs
        # up with data unread, which makes the kernel throw away what it had sent.
        subscribers = self._subscriptions.get(subscription[0], ())
        if any(each.client_id == session.client_id for each, _ in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    def _get_handler(self, session: Session) -> _Publisher | None:
        handler = super()._get_handler(session)
        return None if handler is None else _Publisher(handler)


class _Publisher:
    """Publishes to one client; that it doesn't acknowledge in time is its own affair."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    async def mqtt_publish(self, *message: Any, **options: Any) -> None:
        # The broker overlooks what its tasks raise, and asyncio would log each with a traceback.
        with contextlib.suppress(*_LOST):
            await self._handler.mqtt_publish(*message, **options)


class _Reader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """Lets the task of every packet begin before the next packet is read."""

    async def read(self, n: int = -1) -> bytes:
        await asyncio.sleep(0)  # from Python 3.12 on, amqtt would read to the end, and then cancel them all
        data: bytes = await super().read(n)
        return data


class _Writer(StreamWriterAdapter):  # type: ignore[misc]  # amqtt has no types
    """Gives up on a client that doesn't read."""

    async def close(self) -> None:
        self.is_closed = True
        self._writer.close()

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():  # asyncio warns of every answer to a client that is gone
            super().write(data)

    async def drain(self) -> None:
        try:
            async with asyncio.timeout(_UNREAD_SECONDS):
                await super().drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionResetError(errno.ECONNRESET, "the client doesn't read") from None
