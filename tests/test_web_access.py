"""The token that the page and the metrics ask for, over real connections and in a real browser."""

import asyncio
import logging
import os
import socket
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from chromium import CHROMIUM, chromium
from metrics_kit import CONFIG
from prometheus import PROMETHEUS, prometheus
from prometheus_client import CollectorRegistry
from scenes import HOUSE
from web_kit import SECURITY, exchange, status_of

from monitor.config import HttpConfig
from monitor.errors import CredentialError
from monitor.metrics import Metrics
from monitor.web import guard, serve, server

TOKEN = "correct.horse-battery_staple"
WANTED = "its first line isn't 16 to 512 letters, digits and ._~+/=-; make one with  openssl rand -hex 32"
PATHS = ("/", "/metrics", "/status.json", "/events", "/page.js", "/nothing", "/healthz/")


class Site:
    """What is served, to be changed by a test."""

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        Metrics(self.registry, CONFIG)
        self.now = HOUSE
        self.health = (True, "")
        self.token_file = folder / "http-token"
        self.token_file.write_text(TOKEN + "\n")

    def serve(self, environ=None, **config):
        given = {"port": 0, "token_file": self.token_file, **config}
        return serve(
            HttpConfig(**given),
            self.registry,
            lambda: self.now,
            lambda: self.health,
            environ=environ or os.environ,
        )


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
async def url(site):
    async with site.serve() as running:
        yield running.url.rstrip("/")


@pytest.fixture
async def client():
    jar = aiohttp.CookieJar(unsafe=True)  # it is talked to by its address
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), cookie_jar=jar) as session:
        yield session


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_token_nothing_is_shown_not_even_what_there_is(url, client, path):
    for headers in (
        {},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer("\N{SNOWMAN}"),
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"sound_monitor={TOKEN}"},
        {"Cookie": "sound_monitor="},
    ):
        async with client.get(f"{url}{path}", headers=headers) as response:
            text = await response.text()
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert SECURITY.items() <= dict(response.headers).items()
            assert "kitchen" not in text
            assert TOKEN not in text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_with_the_token_all_is_there(url, client, scheme):
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    for path, status in zip(PATHS, (200, 200, 200, 200, 200, 404, 404), strict=True):
        async with client.get(f"{url}{path}", headers=headers) as response:
            assert response.status == status, path


async def test_health_is_told_to_everybody_and_its_reason_to_those_with_the_token(site, url, client):
    async with client.get(f"{url}/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    site.health = (False, "source kitchen: unplugged")
    async with client.get(f"{url}/healthz") as response:
        assert (response.status, await response.text()) == (503, "not well\n")
    async with client.get(f"{url}/healthz", headers=bearer(TOKEN)) as response:
        assert (response.status, await response.text()) == (503, "source kitchen: unplugged\n")


async def test_a_browser_gives_the_token_once(url, client):
    async with client.get(f"{url}/?token={TOKEN}", allow_redirects=False) as response:
        assert response.status == 200
        cookie = response.headers["Set-Cookie"]
        text = await response.text()
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    assert TOKEN not in cookie + text
    for path in ("/", "/status.json", "/page.js", "/metrics"):
        async with client.get(f"{url}{path}") as response:
            assert response.status == 200, path


async def test_the_token_is_taken_from_an_address_for_the_page_only(url, client):
    for path in (f"/status.json?token={TOKEN}", f"/metrics?token={TOKEN}", f"/?Token={TOKEN}", "/?token="):
        async with client.get(f"{url}{path}") as response:
            assert response.status == 401, path


async def test_a_new_token_ends_the_old_cookie_and_a_restart_does_not(site, client):
    async with site.serve() as running:
        port = running.port
        async with client.get(f"{running.url}?token={TOKEN}") as response:
            assert response.status == 200
    async with site.serve(port=port) as running, client.get(f"{running.url}metrics") as response:
        assert response.status == 200
    site.token_file.write_text("another." + TOKEN)
    async with site.serve(port=port) as running, client.get(f"{running.url}metrics") as response:
        assert response.status == 401


async def test_the_names_on_loopback_are_checked_before_the_token(url, client):
    headers = {"Host": "evil.example", **bearer(TOKEN)}
    async with client.get(f"{url}/status.json", headers=headers) as response:
        assert response.status == 421


async def test_systemds_credential_is_the_token_where_no_file_is_named(site, tmp_path, client):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "http-token").write_text("given-by-systemd-0123\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    async with site.serve(environ, token_file=None) as running:
        async with client.get(f"{running.url}metrics") as response:
            assert response.status == 401
        async with client.get(f"{running.url}metrics", headers=bearer("given-by-systemd-0123")) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory; make it a file that this user can read"),
        ("", "its first line is empty; write the token there"),
        ("tooshort", WANTED),
        ("with blanks between its words", WANTED),
        (b"\xff\xfe\x00t", "is not text in UTF-8; its first line is the token"),
    ],
)
async def test_a_token_file_that_can_not_be_used_is_named_and_not_shown(site, content, says):
    site.token_file.unlink()
    if content is not None:
        site.token_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CredentialError) as raised:
        async with site.serve():
            pytest.fail("served without its token")
    assert str(raised.value) == f"http.token_file {site.token_file}: {says}"


async def test_open_to_the_network_without_a_token_is_warned_of(site, caplog):
    async with site.serve(host="0.0.0.0", token_file=None):
        pass
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "http: 0.0.0.0 is open to the network without a token; set http.token_file"
    ]
    caplog.clear()
    async with site.serve(host="0.0.0.0"), site.serve(token_file=None):
        pass
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]


async def test_headers_that_trickle_in_are_cut_off_after_a_time(site, monkeypatch):
    monkeypatch.setitem(guard.LIMITS, "keepalive_timeout", 0.5)
    async with site.serve() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)

        async def trickle():
            for byte in b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        trickling.cancel()
        writer.close()
        await asyncio.wait([trickling])


async def test_who_asks_and_does_not_read_gives_its_connection_back(site, monkeypatch):
    monkeypatch.setattr(server, "WRITE_SECONDS", 0.5)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    site.now = replace(HOUSE, windows="w" * 16_000_000)
    async with site.serve(token_file=None) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as deaf:
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(deaf, b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await loop.sock_recv(deaf, 1) == b"H"
            ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert await exchange(running.url.rstrip("/"), ask) == b""
            async with asyncio.timeout(20):
                while not (answer := await exchange(running.url.rstrip("/"), ask)):
                    pass
            assert status_of(answer) == 200


async def test_pipelined_requests_each_need_the_token(url):
    asked = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    answer = await exchange(
        url, (asked + "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").encode()
    )
    first, second = (part for part in answer.split(b"HTTP/1.1 ") if part)
    assert first.startswith(b"200")
    assert status_of(b"HTTP/1.1 " + second) == 401


@pytest.mark.real
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus isn't installed")
async def test_a_real_prometheus_scrapes_with_the_token(url, site):
    target = url.removeprefix("http://")
    bearer_file = {"authorization": {"credentials_file": str(site.token_file)}}
    async with prometheus([target], scrape=bearer_file) as running:
        await running.until('up{job="sound-monitor"} == 1')
        assert await running.query("sound_monitor_build_info")


@pytest.mark.real
@pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed")
async def test_a_real_browser_opens_the_page_with_the_token_once(url):
    async with chromium() as page:
        await page.open(f"{url}/?token={TOKEN}", loads=2)
        await page.until("document.body?.dataset.stream === 'live'")
        assert await page.eval("location.href") == f"{url}/"
        assert await page.eval("document.cookie") == ""
        await page.open(f"{url}/")
        await page.until("document.body.dataset.stream === 'live'")
        assert page.complaints == []
