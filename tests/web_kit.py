"""What the tests of the HTTP port share: a server to be changed by a test, and raw requests."""

import asyncio
import contextlib

import aiohttp
import pytest
from metrics_kit import CONFIG
from prometheus_client import CollectorRegistry
from scenes import HOUSE

from monitor.config import HttpConfig
from monitor.metrics import Metrics
from monitor.web import Live, serve

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Server": "sound-monitor",
}


class Daemon:
    """What the server shows, to be changed by a test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, CONFIG)
        self.now = HOUSE
        self.health = (True, "")
        self.snapshots = 0
        self.live = Live()

    def status(self):
        self.snapshots += 1
        return self.now

    def healthy(self):
        return self.health

    def serve(self, **config):
        return serve(HttpConfig(**{"port": 0, **config}), self.registry, self.status, self.healthy, self.live)


@pytest.fixture
def daemon():
    return Daemon()


@pytest.fixture
async def url(daemon):
    async with daemon.serve() as running:
        yield running.url.rstrip("/")


@pytest.fixture
async def client():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@contextlib.asynccontextmanager
async def connection(url):
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(url, request: bytes) -> bytes:
    """Send raw bytes and return all that comes until the server closes."""
    async with asyncio.timeout(20), connection(url) as (reader, writer):
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
