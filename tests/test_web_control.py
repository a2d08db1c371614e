"""Switching over HTTP: for the page itself and for programs, and for no other site's page."""

import asyncio
import contextlib
import json

import pytest
from page_kit import Shown
from web_kit import client, connection, exchange, status_of

from monitor.errors import MonitorError
from monitor.web import Live, control

__all__ = ["client"]  # fixtures

BARK = {"source": "kitchen", "event": "dog_bark", "on": False}


@pytest.fixture
def site():
    return Shown()


@pytest.fixture
async def url(site):
    async with site.serve() as running:
        yield running.url.rstrip("/")


@pytest.mark.parametrize("asked", [BARK, {"source": "garage", "event": None, "on": True}])
async def test_a_switch_is_turned(site, url, client, asked):
    async with client.post(f"{url}/switch", json=asked) as response:
        assert response.status == 204
    assert site.switched == [(asked["source"], asked["event"], asked["on"])]


@pytest.mark.parametrize("origin", ["{url}", "https://{host}"])
async def test_the_pages_own_origin_is_taken_also_behind_a_proxy_with_tls(site, url, client, origin):
    host = url.removeprefix("http://")
    headers = {"Origin": origin.format(url=url, host=host), "Sec-Fetch-Site": "same-origin"}
    async with client.post(f"{url}/switch", json=BARK, headers=headers) as response:
        assert response.status == 204
    assert site.switched


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another program's page on this machine
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
async def test_what_another_sites_page_can_send_is_refused(site, url, client, headers, status):
    headers = {"Content-Type": "application/json", **headers}
    async with client.post(f"{url}/switch", data=json.dumps(BARK), headers=headers) as response:
        assert response.status == status
    async with client.options(f"{url}/switch", headers={"Origin": "https://evil.example"}) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers
    async with client.get(f"{url}/switch", params={"source": "kitchen"}) as response:
        assert response.status == 405
    assert site.switched == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '{"source": "kitchen", "on": false}',
        '{"source": "kitchen", "event": "dog_bark", "on": 1}',
        '{"source": "kitchen", "event": "dog_bark", "on": "off"}',
        '{"source": 3, "event": null, "on": true}',
        '{"source": "kitchen", "event": null, "on": true, "more": 1}',
        "\xff",
        "[" * 1000,
        '{"source": "\\ud800", "event": null, "on": true}',
        '{"source": "kitchen", "event": "\\ud800", "on": true}',
    ],
)
async def test_what_makes_no_sense_is_one_line(site, url, client, body):
    headers = {"Content-Type": "application/json"}
    async with client.post(f"{url}/switch", data=body.encode("latin-1"), headers=headers) as response:
        assert response.status == 400
        assert len((await response.text()).splitlines()) == 1
    assert site.switched == []


@pytest.mark.parametrize("charset", [b"nope", b"\xff", b"hex"])
async def test_an_encoding_that_there_is_not_is_one_line(site, url, charset):
    head = b"POST /switch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n"
    answer = await exchange(url, head + b"Content-Type: application/json; charset=" + charset + b"\r\n\r\n{}")
    assert status_of(answer) == 400
    assert len(answer.partition(b"\r\n\r\n")[2].splitlines()) == 1
    assert site.switched == []


async def test_what_is_not_listened_for_is_told(site, client):
    async def refuse(source, event, on):
        raise MonitorError(f"{event} on {source} isn't listened for and can't be switched")

    site.live = Live(enable=refuse)
    async with (
        site.serve() as running,
        client.post(f"{running.url}switch", json=BARK) as response,
    ):
        assert response.status == 409
        assert await response.text() == "dog_bark on kitchen isn't listened for and can't be switched\n"


async def test_a_large_body_is_refused_and_one_that_never_comes_ends(site, url, client, monkeypatch):
    headers = {"Content-Type": "application/json"}
    async with client.post(f"{url}/switch", data=b" " * 5000, headers=headers) as response:
        assert response.status == 413
    monkeypatch.setattr(control, "_BODY_SECONDS", 0.2)
    head = (
        b"POST /switch HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    )
    async with asyncio.timeout(10), connection(url) as (reader, writer):
        writer.write(head + b"{")
        assert status_of(await reader.readuntil(b"\r\n")) == 408
    assert site.switched == []


async def test_bodies_elsewhere_are_still_refused(url):
    for path in ("/", "/status.json", "/events", "/switch/"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n"
        with contextlib.suppress(ConnectionResetError):
            assert status_of(await exchange(url, f"{head}\r\n{{}}".encode())) in (404, 405, 413)
