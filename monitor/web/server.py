"""The one HTTP port: `/metrics`, `/healthz`, `/status.json`, the page and its live stream."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitor.config import HttpConfig
from monitor.errors import MonitorError
from monitor.status import Status, to_json
from monitor.web import control
from monitor.web.access import OPEN_PATH, ask_for, resolve_token
from monitor.web.asking import AskRoute
from monitor.web.guard import LIMITS, add_headers, guard, without_expectations
from monitor.web.live import WRITE_SECONDS, Live, LiveRoutes
from monitor.web.recordings import add_recordings

_log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""More are closed unheard, so that no client can take the daemon's file handles."""
_SHUTDOWN_SECONDS = 1.0

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    host: str
    """The first address that it is bound to."""
    port: int
    """The port in force, also where the configuration says 0."""

    @property
    def url(self) -> str:
        """Where to point a browser."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


@asynccontextmanager
async def serve(
    config: HttpConfig,
    registry: CollectorRegistry,
    status: Callable[[], Status],
    healthy: Callable[[], tuple[bool, str]],
    live: Live | None = None,
    environ: Mapping[str, str] = os.environ,
    clips: Path | None = None,
) -> AsyncIterator[Server]:
    """Answer until the block ends, and play the clips of a folder where one is given.

    Raises MonitorError where the port or the token can't be had.
    """
    token = await asyncio.to_thread(resolve_token, config, environ)
    site = _Site(registry, status, healthy, await asyncio.to_thread(_load_page))
    known_hosts: frozenset[str] | None = None
    middlewares = [guard(lambda: known_hosts, control.PATH), *([ask_for(token)] if token else [])]
    app = web.Application(middlewares=middlewares, client_max_size=control.BODY_AT_MOST)
    app.on_response_prepare.append(add_headers)
    site.add_to(app)
    routes = LiveRoutes(live or Live(), status)
    routes.add_to(app)
    if live is not None and live.enable is not None:
        control.SwitchRoute(live.enable).add_to(app)
    if live is not None and live.ask is not None:
        AskRoute(live.ask).add_to(app)
    if clips is not None:
        add_recordings(app, clips)
    runner = web.AppRunner(
        app, access_log=None, logger=_http_log(), shutdown_timeout=_SHUTDOWN_SECONDS, **LIMITS
    )
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - made by setup
    runner.server.request_factory = without_expectations(runner.server.request_factory)
    try:
        listener = await _listen(config, _capped(runner))
        addresses = [sock.getsockname() for sock in listener.sockets]
        if all(ip_address(address[0]).is_loopback for address in addresses):
            known_hosts = frozenset({"localhost", config.host.lower()})
        elif token is None:
            _log.warning("http: %s is open to the network without a token; set http.token_file", config.host)
        try:
            yield Server(addresses[0][0], addresses[0][1])
        finally:
            listener.close()
    finally:
        routes.closing.set()
        await runner.cleanup()


class _Site:
    """The handlers and what they answer from."""

    def __init__(
        self,
        registry: CollectorRegistry,
        status: Callable[[], Status],
        healthy: Callable[[], tuple[bool, str]],
        page: dict[str, tuple[bytes, str]],
    ) -> None:
        self._registry = registry
        self._status = status
        self._healthy = healthy
        self._page = page
        self._rendering = asyncio.Lock()

    def add_to(self, app: web.Application) -> None:
        """Route every path that there is; all else is 404, all but GET and HEAD 405."""
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get(OPEN_PATH, self._serve_health)
        app.router.add_get("/status.json", self._serve_status)
        for path in self._page:
            app.router.add_get(path, self._serve_page)

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        # A thousand sources take 0.3 s to render, too long for the event loop; one at a time, so that
        # many scrapes don't take many cores.
        async with self._rendering:
            body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def _serve_health(self, _request: web.Request) -> web.Response:
        healthy, reason = self._healthy()
        return web.Response(text="ok\n") if healthy else web.Response(status=503, text=f"{reason}\n")

    async def _serve_status(self, _request: web.Request) -> web.Response:
        text = await asyncio.to_thread(to_json, self._status())
        return web.Response(text=text, content_type="application/json")

    async def _serve_page(self, request: web.Request) -> web.Response:
        body, content_type = self._page[request.path]
        return web.Response(
            body=body,
            content_type=content_type,
            charset="utf-8",
            headers={hdrs.CACHE_CONTROL: "no-cache"},
        )


class _Refusal(asyncio.Protocol):
    """Closes a connection as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a stream server gives
        transport.abort()


def _capped(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    def protocol() -> asyncio.Protocol:
        server = runner.server
        return server() if server and len(server.connections) < MAX_CONNECTIONS else _Refusal()

    return protocol


async def _listen(config: HttpConfig, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(protocol, config.host, config.port)
    except OSError as error:
        raise MonitorError(_explain(config, error)) from error
    for listener in server.sockets:
        # Connections inherit it: who asks and then doesn't read the answer is cut off by the system.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * WRITE_SECONDS))
    return server


def _explain(config: HttpConfig, error: OSError) -> str:
    where = f"http: port {config.port} on {config.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program; stop it, or set http.port to a free one (0: any)"
    if error.errno == errno.EACCES:
        return f"{where} needs privileges; set http.port to 1024 or more"
    return f"{where} can't be had ({error.strerror or error}); set http.host to an address of this machine"


def _load_page() -> dict[str, tuple[bytes, str]]:
    files = {
        f"/{file.name}": (file.read_bytes(), _TYPES[suffix])
        for file in (resources.files("monitor.web") / "page").iterdir()
        if (suffix := "." + file.name.rpartition(".")[2]) in _TYPES
    }
    return {"/": files["/index.html"], **files}


def _http_log() -> logging.Logger:
    """Give aiohttp a log in which a client's broken request is no error of ours."""
    log = logging.getLogger("monitor.web.http")
    log.addFilter(_demote_bad_requests)
    return log


def _demote_bad_requests(record: logging.LogRecord) -> bool:
    raised: Any = record.exc_info[0] if record.exc_info else None
    if raised is None or not issubclass(raised, HttpProcessingError):
        return True
    _log.debug("refused a request that isn't HTTP: %s", raised.__name__)
    return False
