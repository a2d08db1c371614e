"""Whether the broker takes us, the ports are free, and the secrets are kept."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from monitor.config import Config, HttpConfig, MqttConfig
from monitor.credentials import secret_file
from monitor.doctor.finding import Finding, failed, warned, worked
from monitor.errors import CredentialError, SinkError
from monitor.sinks.connection import LOOPBACK, broker_name, connect
from monitor.status import SourceState
from monitor.web.access import OPEN_PATH, resolve_token

_CREDENTIALS = Path("/etc/credstore")
_ASK_SECONDS = 3.0


async def look_at_broker(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Connect to the broker as the monitor would, under another client id; or see that ours can start."""
    mqtt = config.mqtt
    if mqtt is None:
        yield worked("broker", "MQTT is off")
        return
    about = broker_name(mqtt)
    if mqtt.broker == "embedded":
        taken = await asyncio.to_thread(_port_problem, LOOPBACK, mqtt.port_in_force)
        if taken is None:
            yield worked(about, "the port is free for the embedded broker")
        else:
            yield warned(
                about, f"{taken}, perhaps because a monitor runs; the embedded broker takes the next"
            )
        return
    # The monitor may be running: with its own client id, the broker would throw it out.
    visitor = f"{mqtt.client_id}-doctor"
    began = time.monotonic()
    try:
        async with connect(mqtt, client_id=visitor, environ=environ):
            pass
    except SinkError as error:
        yield failed("broker", str(error))
    else:
        yield worked(about, f"accepts {_whom(mqtt)} after {1000 * (time.monotonic() - began):.0f} ms")


def _whom(mqtt: MqttConfig) -> str:
    user = f"user {mqtt.username!r}" if mqtt.username else "us without a user"
    if mqtt.tls is None:
        return f"{user}, without TLS"
    return f"{user} over TLS{', with our certificate' if mqtt.tls.cert_file else ''}"


def look_at_http(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """See that the port can be had, and the token read."""
    http_config = config.http
    if not http_config.enabled:
        yield worked("http", "is off")
        return
    try:
        token = resolve_token(http_config, environ)
    except CredentialError as error:
        yield failed("http", str(error))
    else:
        yield worked("http", "asks for its token" if token else "asks for no token")
    about = f"http port {http_config.port} on {http_config.host}"
    problem = _port_problem(http_config.host, http_config.port)
    if problem is None:
        yield worked(about, "is free")
    elif _asked(http_config, OPEN_PATH) is not None:
        yield worked(about, "is in use by a monitor that runs")
    else:
        yield failed(about, f"{problem}; stop what uses it, or set http.host and http.port to others")


def _port_problem(host: str, port: int) -> str | None:
    """Return why nobody can listen there; None where one can."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
                trial.listen()
    except OSError as error:
        return f"can't be had ({error.strerror or error})"
    return None


def heard_by_a_monitor(config: HttpConfig, environ: Mapping[str, str]) -> frozenset[str]:
    """Return the sources that a monitor which runs here hears: their devices and ports are taken by it."""
    try:
        told = json.loads(_asked(config, "/status.json", resolve_token(config, environ)) or b"{}")
        return frozenset(each["name"] for each in told["sources"] if each["state"] == SourceState.ONLINE)
    except (CredentialError, ValueError, LookupError, TypeError):
        return frozenset()


def _asked(config: HttpConfig, path: str, token: str | None = None) -> bytes | None:
    """Return what a monitor answers at this port; None where there is none."""
    wildcards = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - asked there, not bound
    host = wildcards.get(config.host, config.host)
    connection = http.client.HTTPConnection(host, config.port, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.read() if response.headers.get("Server") == "sound-monitor" else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def look_at_secrets(config: Config, path: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """See that nobody else can read the files of passwords, tokens and keys."""
    files = [*_secret_files(config, path, environ)]
    open_to_all = 0
    for about, file in files:
        try:
            mode = file.stat().st_mode
        except OSError as error:
            yield failed(about, f"{file}: {error.strerror}; put it there, or mend its permissions")
            continue
        if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
            open_to_all += 1
            yield warned(about, f"{file} can be read by every user of this machine; chmod 600 {file}")
    if files and not open_to_all:
        yield worked("secrets", f"{len(files)} files, none open to every user")


def _secret_files(config: Config, path: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    mqtt = config.mqtt
    if mqtt is not None:
        if found := secret_file(mqtt.password_file, "mqtt.password_file", "mqtt-password", environ):
            yield found[1], found[0]
        elif mqtt.password is not None:
            yield "mqtt.password", path
        if mqtt.tls is not None and mqtt.tls.key_file is not None:
            yield "mqtt.tls.key_file", mqtt.tls.key_file
    if found := secret_file(config.http.token_file, "http.token_file", "http-token", environ):
        yield found[1], found[0]
    for name, hook in config.webhooks.items():
        if hook.token_file is not None:
            yield f"webhooks.{name}.token_file", hook.token_file
    for credential in ("mqtt-password", "http-token"):
        stored = _CREDENTIALS / f"sound-monitor.{credential}"
        if stored.exists():
            yield f"systemd's credential {credential}", stored
