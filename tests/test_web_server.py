"""The HTTP port, asked over real connections."""

import asyncio
import base64
import contextlib
import json
import logging
import re
import socket
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from metrics_kit import CONFIG, DOCUMENTED, drive
from prometheus import PROMETHEUS, prometheus
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from scenes import HOUSE, NOW, event

from monitor.config import HttpConfig
from monitor.errors import MonitorError
from monitor.metrics import Metrics
from monitor.status import to_json
from monitor.types import AudioBlock, Phase
from monitor.web import Live, live, serve, server
from monitor.web.day import OCCURRENCES_AT_MOST, Day

ALERTS = Path(__file__).resolve().parent.parent / "config/prometheus/alerts.yml"
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


class TestAnswers:
    async def test_metrics_are_served_in_the_format_that_was_asked_for(self, daemon, url, client):
        drive(daemon.metrics)
        async with client.get(f"{url}/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            names = {family.name for family in parse_text(await response.text())}
        assert {name.removesuffix("_total") for name in DOCUMENTED} <= names
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with client.get(f"{url}/metrics", headers=accept) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            assert list(parse_openmetrics(await response.text()))

    async def test_health_says_why_not(self, daemon, url, client):
        async with client.get(f"{url}/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        daemon.health = (False, "no scores for 31 s")
        async with client.get(f"{url}/healthz") as response:
            assert (response.status, await response.text()) == (503, "no scores for 31 s\n")

    async def test_the_status_is_the_newest(self, daemon, url, client):
        for now in (HOUSE, replace(HOUSE, at=HOUSE.at + 0.001)):
            daemon.now = now
            async with client.get(f"{url}/status.json") as response:
                assert response.content_type == "application/json"
                assert await response.text() == to_json(now)

    async def test_the_page_and_all_it_refers_to_is_there(self, url, client):
        async with client.get(f"{url}/") as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            page = await response.text()
        references = set(re.findall(r'(?:href|src)="([^"#]+)"', page))
        assert {"page.css", "page.js", "icon.svg", "metrics", "status.json", "healthz"} <= references
        for reference in references:
            async with client.get(f"{url}/{reference}") as response:
                assert response.status == 200, reference
        async with client.get(f"{url}/page.js") as response:
            assert response.content_type == "text/javascript"
            modules = re.findall(r'from "\./([^"]+)"', await response.text())
        assert modules
        for module in modules:
            async with client.get(f"{url}/{module}") as response:
                assert response.status == 200, module

    async def test_head_gives_the_headers_alone(self, url, client):
        for path in ("/", "/metrics", "/healthz", "/status.json", "/page.js"):
            async with client.head(f"{url}{path}") as response:
                assert response.status == 200
                assert await response.read() == b""
        async with client.head(f"{url}/events") as response:
            assert response.status == 405  # a stream has no headers alone

    async def test_the_port_in_force_is_told(self, daemon, client):
        async with daemon.serve() as running:
            assert running.port > 0
            assert running.url == f"http://127.0.0.1:{running.port}/"
        async with daemon.serve(host="::1") as running:
            assert running.url == f"http://[::1]:{running.port}/"
            async with client.get(f"{running.url}healthz") as response:
                assert response.status == 200


def test_the_page_loads_nothing_from_elsewhere_and_has_nothing_inline():
    for file in (resources.files("monitor.web") / "page").iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//cdn|@import|url\(", text), file.name
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|innerHTML|\beval\(", text), file.name
        if file.name.endswith(".html"):
            assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="page.js">']


class TestRefusals:
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    async def test_other_methods(self, url, client, method):
        for path in ("/", "/metrics", "/events", "/status.json"):
            async with client.request(method, f"{url}{path}") as response:
                assert response.status == 405
                assert "GET" in response.headers["Allow"]

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/index.htm",
            "/page",
            "/metrics/",
            "/server.py",
            "/../server.py",
            "/%2e%2e/server.py",
            "/page/..%2fserver.py",
            "//etc/passwd",
            "/..%5c..%5cetc/passwd",
            "/page.js%00.html",
        ],
    )
    async def test_other_paths(self, url, path):
        answer = await exchange(
            url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert status_of(answer) == 404
        assert b"import" not in answer

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "192.168.1.7",
            "",
            "[::1",
            "a@127.0.0.1",
        ],
    )
    async def test_other_names_on_loopback(self, url, host):
        for path in ("/status.json", "/nothing"):
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            answer = await exchange(url, request)
            assert status_of(answer) == (
                400 if host == "[::1" and not answer.startswith(b"HTTP/1.1 4") else 421
            )
            assert b"kitchen" not in answer

    async def test_no_name_at_all_on_loopback(self, url):
        assert status_of(await exchange(url, b"GET /status.json HTTP/1.0\r\n\r\n")) == 421

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:7"]
    )
    async def test_own_names_on_loopback_are_welcome(self, url, client, host):
        async with client.get(f"{url}/status.json", headers={"Host": host}) as response:
            assert response.status == 200

    async def test_bound_wider_any_name_is_welcome(self, daemon, client):
        async with (
            daemon.serve(host="0.0.0.0") as running,
            client.get(
                f"http://127.0.0.1:{running.port}/healthz", headers={"Host": "monitor.lan"}
            ) as response,
        ):
            assert response.status == 200

    async def test_other_sites_scripts(self, url, client):
        script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"}
        async with client.get(f"{url}/events", headers=script) as response:
            assert response.status == 403
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        async with client.get(f"{url}/", headers=link) as response:
            assert response.status == 200

    async def test_no_origin_is_ever_allowed_to_read(self, url, client):
        async with client.get(f"{url}/status.json", headers={"Origin": "https://evil.example"}) as response:
            assert not [name for name in response.headers if name.lower().startswith("access-control")]

    async def test_bodies(self, url):
        head = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n"
        assert status_of(await exchange(url, head + b"Content-Length: 1000000\r\n\r\nxxxx")) == 413
        assert (
            status_of(await exchange(url, head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")) == 413
        )

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n"
            + b"".join(b"X-%d: 1\r\n" % n for n in range(500))
            + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: 1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\x00" * 100 + b"\r\n\r\n",
        ],
    )
    async def test_what_is_too_large_or_no_http(self, url, client, request_bytes, caplog):
        answer = await exchange(url, request_bytes)
        assert status_of(answer) == 400
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        async with client.get(f"{url}/healthz") as response:
            assert response.status == 200

    @pytest.mark.parametrize("expectation", [b"100-continue", b"\xf2", b"a miracle"])
    async def test_expectations_are_not_met_but_answered(self, url, expectation, caplog):
        for path, status in ((b"/healthz", 200), (b"/nothing", 404)):
            head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            answer = await exchange(url, head + b"Expect: " + expectation + b"\r\n\r\n")
            assert status_of(answer) == status
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_connections_over_the_limit_are_closed_and_the_rest_is_served(self, url, monkeypatch):
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
        ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with (
            connection(url) as (reader, writer),
            connection(url),
            connection(url),
            connection(url) as (last_reader, last),
        ):
            last.write(ask)  # its answer tells that all four have been accepted
            assert await last_reader.readline() == b"HTTP/1.1 200 OK\r\n"
            assert await exchange(url, ask) == b""
            writer.write(ask)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"

    async def test_every_answer_has_the_security_headers(self, url, client):
        asked = [
            ("GET", "/", {}, 200),
            ("GET", "/metrics", {}, 200),
            ("GET", "/events", {}, 200),
            ("GET", "/nothing", {}, 404),
            ("POST", "/", {}, 405),
            ("GET", "/", {"Host": "evil.example"}, 421),
            ("GET", "/", {"Sec-Fetch-Site": "cross-site"}, 403),
        ]
        for method, path, headers, status in asked:
            async with client.request(method, f"{url}{path}", headers=headers) as response:
                assert response.status == status
                assert SECURITY.items() <= dict(response.headers).items()
                assert response.headers["Cache-Control"] in ("no-store", "no-cache")


class TestPort:
    async def test_a_taken_port_is_one_clear_line(self, daemon):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(MonitorError) as raised:
                async with daemon.serve(port=port):
                    pytest.fail("served on a taken port")
        assert str(raised.value) == (
            f"http: port {port} on 127.0.0.1 is in use by another program; "
            "stop it, or set http.port to a free one (0: any)"
        )

    @pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
    async def test_an_address_of_another_machine_is_one_clear_line(self, daemon, host):
        with pytest.raises(
            MonitorError, match=rf"^http: port 0 on {host} can't be had \(.+\); set http.host [^\n]+$"
        ):
            async with daemon.serve(host=host):
                pytest.fail("served on an address that isn't ours")

    async def test_the_port_is_free_again_at_once(self, daemon, client):
        async with daemon.serve() as running:
            port = running.port
        async with (
            daemon.serve(port=port) as running,
            client.get(f"{running.url}healthz") as response,
        ):
            assert response.status == 200


def tone(source: str, number: int) -> AudioBlock:
    """The block of that number of 50 ms at 48 kHz of a 1 kHz tone."""
    time_seconds = (np.arange(2400) + 2400 * number) / 48_000
    samples = (0.1 * np.sin(2 * np.pi * 1000 * time_seconds)).astype(np.float32)
    return AudioBlock(source, 2400 * number, 48_000, samples, NOW + 0.05 * number)


async def next_kind(response) -> str:
    return (await next_message(response))[0]


async def next_message(response) -> tuple[str, object]:
    """Read one server-sent event: its name and its data."""
    kind = (await response.content.readuntil(b"\n")).decode().removeprefix("event: ").strip()
    data = (await response.content.readuntil(b"\n\n")).decode().removeprefix("data: ")
    return kind, json.loads(data)


class TestDay:
    async def test_the_last_day_is_told_with_the_end_in_the_place_of_the_start(self, daemon, url, client):
        now = time.time()
        bark = replace(event(1, "kitchen", "dog_bark", 0.0, None, 0.6), started_at=now - 60.0)
        old = replace(event(2, "kitchen", "dog_bark", 0.0, 5.0, 0.6), started_at=now - 90_005.0)
        daemon.live.day.add(replace(old, ended_at=now - 90_000.0))
        daemon.live.day.add(bark)
        daemon.live.day.add(replace(bark, phase=Phase.END, ended_at=now - 50.0, peak_score=0.75))
        async with client.get(f"{url}/day.json") as response:
            assert response.content_type == "application/json"
            [told] = await response.json()
        assert (told["id"], told["phase"], told["peak_score"]) == ("0001", "end", 0.75)

    def test_it_holds_no_more_than_its_limit(self):
        day = Day(clock=lambda: NOW)
        for number in range(OCCURRENCES_AT_MOST + 10):
            day.add(event(number, "kitchen", "dog_bark", 100.0, 1.0, 0.6))
        kept = day.occurrences()
        assert len(kept) == OCCURRENCES_AT_MOST
        assert kept[0].id == "000a"


class TestSpectrogram:
    async def test_only_a_page_that_watches_a_source_gets_its_columns(self, daemon, url, client):
        async with (
            client.get(f"{url}/events?spectrum=kitchen&spectrum=attic") as watching,
            client.get(f"{url}/events") as other,
        ):
            assert (await next_message(watching))[0] == "settings"
            for number in range(10):
                daemon.live.spectrograms.heard(tone("kitchen", number))
                daemon.live.spectrograms.heard(tone("garage", number))
            kinds = []
            while "columns" not in kinds:
                kind, columns = await next_message(watching)
                kinds.append(kind)
            assert columns["source"] == "kitchen"
            heard = np.frombuffer(base64.b64decode(columns["data"]), np.uint8).reshape(-1, columns["bands"])
            assert 5 <= len(heard) <= 10
            assert {await next_kind(other) for _ in range(5)} == {"settings", "recent", "status"}

    async def test_nothing_is_kept_of_a_source_when_the_last_page_has_left(self, daemon, url, client):
        async with client.get(f"{url}/events?spectrum=kitchen") as response:
            await next_message(response)
            assert daemon.live.spectrograms.watched == {"kitchen"}
        async with asyncio.timeout(10):
            while daemon.live.spectrograms.watched:  # the server notices at its next message
                async with client.get(f"{url}/healthz") as response:
                    assert response.status == 200


class TestStream:
    async def test_recent_events_come_first_and_then_the_newest_status(self, daemon, url, client):
        async with client.get(f"{url}/events") as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            kind, settings = await next_message(response)
            assert (kind, settings["windows"]) == ("settings", HOUSE.windows)
            assert [each["name"] for each in settings["events"]] == [each.name for each in HOUSE.events]
            kind, recent = await next_message(response)
            assert kind == "recent"
            assert [each["id"] for each in recent] == [each.id for each in HOUSE.recent]
            kind, status = await next_message(response)
            assert (kind, status["at"], status["recent"]) == ("status", HOUSE.at, [])

            daemon.now = replace(HOUSE, at=HOUSE.at + 1.0)
            assert (await next_message(response))[1]["at"] == HOUSE.at + 1.0

            daemon.now = replace(
                HOUSE, recent=(event(8, "garage", "dog_bark", 1.0, None, 0.6), *HOUSE.recent)
            )
            kind, recent = await next_message(response)
            assert (kind, recent[0]["id"]) == ("recent", "0008")

    async def test_a_hundred_pages_cost_one_snapshot_each_half_second(self, daemon, url):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            pages = [await session.get(f"{url}/events") for _ in range(100)]
            loop = asyncio.get_running_loop()
            began = loop.time()
            before = daemon.snapshots
            for page in pages:
                for _ in range(5):  # settings, recent, and three times the status
                    await next_message(page)
            taken = daemon.snapshots - before
            elapsed = loop.time() - began
            for page in pages:
                page.close()
        assert 2 <= taken <= 2 + elapsed / (0.9 * 0.5)

    async def test_pages_over_the_limit_are_told_so_until_one_closes(self, url, client, monkeypatch):
        monkeypatch.setattr(live, "MAX_STREAMS", 2)
        async with client.get(f"{url}/events") as first, client.get(f"{url}/events") as second:
            assert (first.status, second.status) == (200, 200)
            async with client.get(f"{url}/events") as third:
                assert third.status == 503
                assert third.headers["Retry-After"] == "30"
            async with client.get(f"{url}/healthz") as response:
                assert response.status == 200
            first.close()
            async with asyncio.timeout(10):
                while True:
                    async with client.get(f"{url}/events") as fourth:
                        if fourth.status == 200:
                            break
                    await next_message(second)  # the server notices at its next message

    async def test_a_page_that_reads_nothing_is_cut_off_alone(self, daemon, monkeypatch, client):
        monkeypatch.setattr(live, "WRITE_SECONDS", 0.3)
        # Large enough to fill the buffers of a connection in a few messages.
        daemon.now = replace(HOUSE, windows="w" * 4_000_000)
        async with daemon.serve() as running:
            loop = asyncio.get_running_loop()
            with socket.create_connection(("127.0.0.1", running.port)) as deaf:
                deaf.setblocking(False)
                await loop.sock_sendall(deaf, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                async with client.get(f"{running.url}events", max_line_size=8_000_000) as lively:
                    for _ in range(6):
                        async for line in read_lines(lively):
                            if line == b"\n":
                                break
                async with asyncio.timeout(10):  # what lay in the buffers comes, then the cut
                    await read_to_the_end(deaf)

    async def test_the_server_stops_at_once_with_pages_open(self, daemon, client):
        loop = asyncio.get_running_loop()
        async with daemon.serve() as running:
            response = await client.get(f"{running.url}events")
            await next_message(response)
            stopping = loop.time()
        assert loop.time() - stopping < 1.0
        response.close()


async def read_to_the_end(connected: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while await asyncio.get_running_loop().sock_recv(connected, 1 << 20):
            pass


async def read_lines(response):
    """Lines of any length."""
    pending = b""
    async for chunk in response.content.iter_any():
        pending += chunk
        *lines, pending = pending.split(b"\n")
        for line in lines:
            yield line + b"\n"


@pytest.mark.real
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus isn't installed")
async def test_a_real_prometheus_runs_the_shipped_alerts_on_it(daemon):
    drive(daemon.metrics)
    daemon.metrics.source_up("garage", up=True)
    async with daemon.serve() as running, prometheus([f"127.0.0.1:{running.port}"], [ALERTS]) as server_:
        wanted = 'ALERTS{alertname=~"SoundMonitor(SourceDown|ConfigReloadFailed)"}'
        await server_.until('sound_monitor_source_up{source="garage"} == 1')
        assert await server_.query(wanted) == []
        daemon.metrics.source_up("garage", up=False)
        daemon.metrics.reload(ok=False, at=1.0)
        raised = await server_.until(wanted, lambda result: len(result) == 2)
        assert {each.labels["alertname"]: each.labels.get("source") for each in raised} == {
            "SoundMonitorSourceDown": "garage",
            "SoundMonitorConfigReloadFailed": None,
        }


@pytest.mark.real
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus isn't installed")
async def test_a_real_prometheus_scrapes_every_documented_metric(daemon):
    drive(daemon.metrics)
    async with daemon.serve() as running, prometheus([f"127.0.0.1:{running.port}"]) as server_:
        await server_.until('up{job="sound-monitor"} == 1')
        for name, kind in DOCUMENTED.items():
            series = f"{name}_count" if kind == "histogram" else name
            assert await server_.query(series), name
        [score] = await server_.query('sound_monitor_event_score{source="kitchen",event="dog_bark"}')
        assert score.value == 0.75
        daemon.metrics.window_scored("kitchen")
        await server_.until('sound_monitor_windows_scored_total{source="kitchen"} == 2')
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server_.url.rpartition(":")[2])))
