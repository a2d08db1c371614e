"""One connection to the broker, made new each time; the only module that knows the MQTT client library."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.reasoncodes import ReasonCode

from monitor.config import MqttConfig, TlsConfig
from monitor.credentials import read_secret
from monitor.errors import CredentialError, SinkError

# Where the library tells of every lost connection; the sinks tell of them in their own words.
_library_log = logging.getLogger("monitor.sinks.aiomqtt")
_library_log.setLevel(logging.CRITICAL)

_T = TypeVar("_T")

LOOPBACK = "127.0.0.1"
_TCP_AND_TLS_SECONDS = 3.0
_MOST_INCOMING = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """What is published or received."""

    topic: str
    payload: bytes
    retained: bool = False
    qos: int = 1


class RefusedError(SinkError):
    """The broker doesn't allow a subscription or a message; the connection is still good."""


class Connection:
    """An open connection; its methods raise SinkError once it is broken."""

    def __init__(self, client: _Client, config: MqttConfig) -> None:
        self._client = client
        self._config = config

    async def publish(self, message: Message) -> None:
        """Send a message; with QoS 1, return when the broker has acknowledged it.

        Raises RefusedError where the broker says that it doesn't take it, which MQTT 3.1.1 has no words for.
        """
        try:
            await self._client.publish(message.topic, message.payload, message.qos, message.retained)
        except _RefusedMessageError as error:
            text = f"refuses messages to {message.topic} ({error.rc}); allow it in its access list"
            raise RefusedError(str(_error(self._config, text))) from None
        except aiomqtt.MqttError as error:
            raise _explained(error, self._config) from None

    async def subscribe(self, *topics: str) -> None:
        """Ask for messages with QoS 1; raises RefusedError where the broker doesn't allow it."""
        try:
            codes = await self._client.subscribe([(topic, 1) for topic in topics])
        except aiomqtt.MqttError as error:
            raise _explained(error, self._config) from None
        for topic, code in zip(topics, codes, strict=True):
            if isinstance(code, ReasonCode) and code.is_failure:
                text = f"refuses a subscription to {topic}; allow it in its access list"
                raise RefusedError(str(_error(self._config, text)))

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what comes in, until the connection breaks."""
        try:
            async for message in self._client.messages:
                payload = message.payload if isinstance(message.payload, bytes) else b""
                yield Message(str(message.topic), payload, message.retain, message.qos)
        except aiomqtt.MqttError as error:
            raise _explained(error, self._config) from None


@asynccontextmanager
async def connect(
    config: MqttConfig,
    *,
    will: Message | None = None,
    client_id: str | None = None,
    answer_seconds: float = 10.0,
    environ: Mapping[str, str] = os.environ,
) -> AsyncIterator[Connection]:
    """Connect; leave with a goodbye, or, when the body raises, without one, so that the will is published.

    `answer_seconds` is how long the broker may take for an acknowledgement.
    """
    embedded = config.broker == "embedded"
    tls = None if embedded else config.tls
    password = await asyncio.to_thread(resolve_password, config, environ)
    client = _Client(
        LOOPBACK if embedded else config.broker,
        config.port_in_force,
        username=config.username if password is None else config.username or "",
        password=password,
        identifier=client_id or config.client_id,
        protocol=aiomqtt.ProtocolVersion.V5
        if config.version == "5" and not embedded
        else aiomqtt.ProtocolVersion.V311,
        will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retained) if will else None,
        timeout=answer_seconds,
        keepalive=config.keepalive_seconds,
        tls_context=await asyncio.to_thread(_tls_context, tls) if tls else None,
        max_queued_incoming_messages=_MOST_INCOMING,
        logger=_library_log,
        socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
    )
    client.pending_calls_threshold = 1_000_000
    try:
        async with client:
            try:
                yield Connection(client, config)
            except BaseException:
                client.abandon()
                raise
    except aiomqtt.MqttError as error:
        raise _explained(error, config) from None
    finally:
        await client.dispose()


def broker_name(config: MqttConfig) -> str:
    """Return what to call the broker in messages."""
    host = LOOPBACK if config.broker == "embedded" else config.broker
    return f"MQTT broker {host}:{config.port_in_force}"


def resolve_password(config: MqttConfig, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the password from its file, systemd's credential or the configuration, in this order."""
    if config.username is None and config.version == "3.1.1":
        return None
    try:
        secret = read_secret(config.password_file, "mqtt.password_file", "mqtt-password", environ)
    except CredentialError as error:
        raise SinkError(str(error)) from None
    return config.password if secret is None else secret


class _ClosedAtOnceError(aiomqtt.MqttError):
    """The broker closed the connection before it accepted or refused it."""


class _RefusedMessageError(aiomqtt.MqttCodeError):
    """The acknowledgement of a message says that the broker didn't take it."""


class _Client(aiomqtt.Client):
    """The library's client, which can also go without a goodbye and sees refusals that it overlooks."""

    _abandoned = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refused: dict[int, ReasonCode] = {}

    def abandon(self) -> None:
        """Cut the connection, in whatever phase, so that the broker publishes the will."""
        self._abandoned = True
        if not self._disconnected.done():
            self._disconnected.set_result(None)  # at exit, the library now says no goodbye
        self._shut()

    async def __aenter__(self) -> Self:
        disconnected = self._disconnected
        await super().__aenter__()
        # Lost since it was accepted, which the library has just forgotten: nobody would ever hear of it.
        broken = disconnected.exception() if disconnected.done() else None
        if self._client.socket() is None:
            raise _ClosedAtOnceError("closed after it was accepted")
        if broken is not None:
            raise aiomqtt.MqttError("sent what isn't MQTT after it had accepted") from broken
        return self

    async def dispose(self) -> None:
        """Cut what is left and let the event loop close the socket."""
        self.abandon()
        for outcome in (self._connected, self._disconnected):
            if outcome.done() and not outcome.cancelled():
                outcome.exception()  # seen
        for _ in range(10):
            if self._client.socket() is None:
                break
            await asyncio.sleep(0)
        # Packets that have come in already would be read one by one before the end is.
        self._client._sock_close()  # noqa: SLF001 - there is no public way without a goodbye

    async def _wait_for(self, fut: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109
        # The library's own uses asyncio.wait_for, which before Python 3.12 can swallow a cancellation.
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("no answer in time") from None

    def _shut(self) -> None:
        connected = self._client.socket()
        if isinstance(connected, socket.socket):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _client_connect(self) -> None:
        # Runs in a thread that can't be cancelled: so it is bounded in time, and a connection that nobody
        # waits for any more must not stay with our client id.
        self._client.connect_timeout = _TCP_AND_TLS_SECONDS
        super()._client_connect()
        if self._abandoned:
            self._shut()

    async def _misc_loop(self) -> None:
        # A thread that nobody waits for any more may connect when the event loop is about to end.
        if not self._abandoned:
            await super()._misc_loop()

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        def write() -> None:
            try:
                client.loop_write()
            except OSError as error:
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            if sock.fileno() >= 0:  # the library would register a socket that was closed meanwhile
                self._loop.add_writer(sock.fileno(), write)

        self._loop.call_soon_threadsafe(register)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        if not self._connected.done() and not self._abandoned:
            self._connected.set_exception(_ClosedAtOnceError("closed before it was accepted"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # seen, also where the library replaces it

    def _on_publish(self, client: Any, userdata: Any, mid: Any, reason_code: Any, properties: Any) -> None:
        if reason_code.is_failure and mid in self._pending_publishes:
            self._refused[mid] = reason_code  # MQTT 5; the library would take it for an acknowledgement
        super()._on_publish(client, userdata, mid, reason_code, properties)

    @contextmanager
    def _pending_call(self, mid: int, value: _T, pending_dict: dict[int, _T]) -> Iterator[None]:
        try:
            with super()._pending_call(mid, value, pending_dict):
                yield
        finally:
            reason_code = self._refused.pop(mid, None)
        if reason_code is not None:
            raise _RefusedMessageError(reason_code, "refused")


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which the library leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        cause = "is not a certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise SinkError(f"mqtt.tls.ca_file {tls.ca_file}: {cause}; name the authority's PEM file") from None
    context.sslsocket_class = _TlsSocket
    if tls.cert_file:
        try:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            no_pair = "not a pair in PEM form without a password"
            cause = no_pair if isinstance(error, ssl.SSLError) else error.strerror
            files = f"mqtt.tls.cert_file {tls.cert_file} and key_file {tls.key_file}"
            raise SinkError(f"{files}: {cause}; name the files of a pair") from None
    return context


def _error(config: MqttConfig, text: str) -> SinkError:
    return SinkError(f"{broker_name(config)}: {text}")


def _explained(error: aiomqtt.MqttError, config: MqttConfig) -> SinkError:
    """Return what went wrong and what to do about it."""
    # The library raises its errors "from None": what happened is in the context.
    chain = [each for each in (error, error.__cause__, error.__context__) if each is not None]
    return _error(config, next(filter(None, (_remedy(each, config) for each in chain)), str(error)))


def _remedy(error: BaseException, config: MqttConfig) -> str | None:
    text: str | None = None
    match error:
        case ssl.SSLCertVerificationError() if "mismatch" in error.verify_message:
            text = f"{error.verify_message.rstrip('.')}; set mqtt.broker to a name in its certificate"
        case ssl.SSLCertVerificationError():
            text = f"{error.verify_message}; set mqtt.tls.ca_file to the authority of its certificate"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            text = "doesn't speak TLS at this port; correct mqtt.port or remove mqtt.tls"
        case socket.gaierror():
            text = f"the name can't be resolved ({error.strerror}); check mqtt.broker and the network"
        case ConnectionRefusedError():
            text = "nothing listens there; check that the broker runs, mqtt.broker and mqtt.port"
        case TimeoutError():
            text = "doesn't answer; check the broker and the network"
        case _ClosedAtOnceError() | ConnectionResetError() | ssl.SSLEOFError():
            text = "closes the connection at once; check that mqtt.port and mqtt.tls belong together"
        case aiomqtt.MqttCodeError(rc=ReasonCode() as code):
            text = _refusal(code.getName(), config, connecting=isinstance(error, MqttConnectError))
        case aiomqtt.MqttCodeError():
            text = "the connection broke"
    return text


def _refusal(reason: str, config: MqttConfig, *, connecting: bool) -> str:
    no_entry = (
        "refuses clients without a user name; set mqtt.username and mqtt.password_file"
        if config.username is None
        else f"refuses user {config.username!r} or the password; check mqtt.username and the password"
    )
    texts = {
        "Bad user name or password": no_entry,
        "Not authorized": no_entry if connecting else "refuses a message; allow its topic in the access list",
        "Unsupported protocol version": f"doesn't speak MQTT {config.version}; set mqtt.version to the other",
        "Client identifier not valid": f"refuses the client id {config.client_id!r}; set mqtt.client_id",
        "Session taken over": f"another client took the client id {config.client_id!r}; set mqtt.client_id",
        "Unspecified error": "the connection broke",
        "Keep alive timeout": "stopped answering",
    }
    return texts.get(reason, reason)
