"""How open pages weigh on the scoring: a real daemon's latency with none, ten and a hundred of them."""

import asyncio
import statistics
import time
from collections import Counter
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import pytest
from daemon import daemon

pytestmark = [pytest.mark.large, pytest.mark.real, pytest.mark.timeout(900)]

SOURCES = 4
PAGES = (0, 10, 100)
ROUNDS = 4
PHASE_SECONDS = 15.0
SETTLING_SECONDS = 2.0


async def follow(session: aiohttp.ClientSession, url: str, received: Counter[str]) -> None:
    """Be an open page in front of every spectrogram."""
    watched = "&".join(f"spectrum=room_{number}" for number in range(SOURCES))
    async with session.get(f"{url}events?{watched}") as response:
        async for chunk in response.content.iter_any():
            received[url] += len(chunk)


async def test_a_hundred_pages_dont_slow_the_scoring(tmp_path, capsys):
    log = tmp_path / "latency.tsv"
    config = {
        "sources": {f"room_{number}": {"type": "demo", "seed": number} for number in range(SOURCES)},
        "events": {"dog_bark": "a dog barking", "siren": "a siren wailing", "baby_cry": "a baby crying"},
        "mqtt": None,
    }
    program = (str(Path(__file__).with_name("latency_daemon.py")),)
    phases: dict[int, list[tuple[float, float]]] = {pages: [] for pages in PAGES}
    share: dict[int, list[float]] = {pages: [] for pages in PAGES}
    rates: dict[int, list[float]] = {pages: [] for pages in PAGES}
    async with daemon(tmp_path, config, program=program, arguments=(str(log),)) as running:
        url = await running.url()
        await running.logged("listening: 4 sources")
        process = psutil.Process(running.process.pid)
        await asyncio.sleep(5.0)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            for _ in range(ROUNDS):  # interleaved: the machine's other work falls on all alike
                for pages in PAGES:
                    received: Counter[str] = Counter()
                    open_pages = [asyncio.create_task(follow(session, url, received)) for _ in range(pages)]
                    await asyncio.sleep(SETTLING_SECONDS)
                    received.clear()
                    began, used = time.time(), sum(process.cpu_times()[:2])
                    await asyncio.sleep(PHASE_SECONDS)
                    ended = time.time()
                    phases[pages].append((began, ended))
                    share[pages].append((sum(process.cpu_times()[:2]) - used) / (ended - began))
                    rates[pages].append(received.total() / (ended - began) / max(1, pages))
                    for each in open_pages:
                        each.cancel()
                    await asyncio.gather(*open_pages, return_exceptions=True)
        status = await running.status()
        assert await running.stop() == 0
    rows = np.loadtxt(log)
    lines = ["pages  windows  p50 ms  p99 ms  CPU share  kB/s a page"]
    p50, p99 = {}, {}
    for pages, spans in phases.items():
        within = np.any([(rows[:, 0] >= begin) & (rows[:, 0] < end) for begin, end in spans], axis=0)
        p50[pages], p99[pages] = 1000 * np.percentile(rows[within, 1], [50, 99])
        assert within.sum() > 0.9 * SOURCES * 2 * ROUNDS * PHASE_SECONDS  # two windows a second each
        cpu, rate = statistics.median(share[pages]), statistics.median(rates[pages]) / 1000
        lines.append(
            f"{pages:5d} {within.sum():8d} {p50[pages]:7.1f} {p99[pages]:7.1f} {cpu:10.2f} {rate:12.1f}"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201 - the table is what the test is run for
    assert all(not each["windows_dropped"] for each in status["sources"])
    assert min(rates[100]) > 1000  # the pages did get their spectrograms
    assert p50[100] < p50[0] + 50.0
    assert p99[100] < p99[0] + 150.0
