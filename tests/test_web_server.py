"""The HTTP port, asked over real connections: what it answers, and Prometheus too."""

import re
import socket
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from metrics_kit import DOCUMENTED, drive
from prometheus import PROMETHEUS, prometheus
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from scenes import HOUSE, NOW, event
from web_kit import client, daemon, url

from monitor.errors import MonitorError
from monitor.status import to_json
from monitor.types import Phase
from monitor.web.day import OCCURRENCES_AT_MOST, Day

__all__ = ["client", "daemon", "url"]  # fixtures

ALERTS = Path(__file__).resolve().parent.parent / "config/prometheus/alerts.yml"


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
