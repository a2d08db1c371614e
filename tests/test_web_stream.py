"""What an open page is sent as it comes: recent events, the status, the spectrogram's columns."""

import asyncio
import base64
import contextlib
import json
import socket
from dataclasses import replace

import aiohttp
import numpy as np
from scenes import HOUSE, NOW, event
from web_kit import client, daemon, url

from monitor.types import AudioBlock
from monitor.web import live

__all__ = ["client", "daemon", "url"]  # fixtures


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
