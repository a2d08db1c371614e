"""Sixty-four sources at real time on this machine, and an hour of sound through one process."""

import asyncio
import os
import sys
import time

import numpy as np
import psutil
import pytest
import soundfile
from conftest import ROOT
from daemon import daemon
from prometheus_client.parser import text_string_to_metric_families

from monitor.config_file import load_config

pytestmark = [pytest.mark.large, pytest.mark.timeout(1800)]

SOURCES = 64
SECONDS = float(os.environ.get("CAPACITY_SECONDS", "120"))


def say(*parts):
    print("; ".join(parts))  # noqa: T201


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def summed(metrics, name):
    return sum(value for key, value in metrics.items() if key[0] == name)


def quantile(before, after, name, share):
    """The bucket's upper edge below which `share` of what came between two scrapes lies."""
    edges = sorted(
        (float(dict(key[1:])["le"]), value - before.get(key, 0.0))
        for key, value in after.items()
        if key[0] == f"{name}_bucket"
    )
    return next(edge for edge, count in edges if count >= share * edges[-1][1])


async def test_sixty_four_recordings_at_real_time_lose_no_window(shared, tmp_path):
    for stream in sorted((shared / "streams").glob("*.ogg")):
        soundfile.write(tmp_path / f"{stream.stem}.wav", *soundfile.read(stream, dtype="int16"))
    recordings = sorted(tmp_path.glob("*.wav"))
    source = {"type": "file", "loop": True}
    config = {
        "sources": {
            f"room_{n}": {**source, "path": str(recordings[n % len(recordings)])} for n in range(SOURCES)
        },
        "events": {
            name: {"prompts": list(event.prompts)}
            for name, event in load_config(ROOT / "training/streams.yaml").events.items()
        },
    }
    async with daemon(tmp_path, config) as running:
        async with asyncio.timeout(120):
            while True:
                status = await running.status()
                if status["sources"] and min(each["windows_scored"] for each in status["sources"]) >= 8:
                    break
                await asyncio.sleep(0.5)
        process = psutil.Process(running.process.pid)
        before, used, began = (
            samples((await running.get("metrics"))[1]),
            process.cpu_times(),
            time.monotonic(),
        )
        await asyncio.sleep(SECONDS)
        after, now, lasted = (
            samples((await running.get("metrics"))[1]),
            process.cpu_times(),
            time.monotonic() - began,
        )
        memory = process.memory_info().rss / 1e6
        assert await running.stop() == 0
    cpu = (now.user + now.system - used.user - used.system) / lasted
    dropped = summed(after, "sound_monitor_windows_dropped_total") - summed(
        before, "sound_monitor_windows_dropped_total"
    )
    scored = summed(after, "sound_monitor_windows_scored_total") - summed(
        before, "sound_monitor_windows_scored_total"
    )
    name = "sound_monitor_detection_latency_seconds"
    model = (
        after[("sound_monitor_inference_duration_seconds_sum",)]
        - before[("sound_monitor_inference_duration_seconds_sum",)]
    )
    p50, p99 = (quantile(before, after, name, share) for share in (0.5, 0.99))
    say(
        f"{SOURCES} sources, {lasted:.0f} s: {scored:.0f} windows scored, {dropped:.0f} dropped",
        f"{cpu:.2f} cores, model busy {model / lasted:.2f}, {memory:.0f} MB",
        f"from sound to decision: half within {p50:g} s, 99 % within {p99:g} s",
    )
    # A recording that begins anew gives no window until a whole one is full: 1.5 s of every 120.
    assert scored + dropped > 0.95 * SOURCES * lasted / 0.5
    assert dropped == 0


async def test_an_hour_of_sound_leaves_memory_as_it_was(tmp_path):
    rng = np.random.default_rng(1)
    for part in range(4):
        soundfile.write(tmp_path / f"{part}.flac", 0.05 * rng.standard_normal(900 * 32_000), 32_000)
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources: {a: {type: demo}}\nevents: {siren: a siren wailing, dog: a dog barking}\nmqtt: null\n"
    )
    files = [str(tmp_path / f"{part}.flac") for part in range(4)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "replay", *files, "--config", str(config)),
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    sizes = []
    seen = psutil.Process(process.pid)
    ended = asyncio.create_task(process.wait())
    while not ended.done():
        try:
            sizes.append(seen.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        await asyncio.wait({ended}, timeout=0.5)
    assert await ended == 0
    warm, late = sizes[len(sizes) // 4], sizes[-2]
    say(
        f"replay of an hour: {warm:.0f} MB after a quarter, {late:.0f} MB at the end",
        f"most {max(sizes):.0f} MB",
    )
    assert late - warm < 20
