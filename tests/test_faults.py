"""What `tests/FAULTS.md` lists and no other module tests: faults of the whole daemon, and long outages."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import yaml
from daemon import daemon, subscriber
from mosquitto import mosquitto
from mqtt_kit import an_event, memory_folder
from tones import write_scene

from monitor.outbox import Outbox
from monitor.types import Phase

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent
BEEP = {"prompts": "a high-pitched tone", "on_threshold": 0.3, "off_threshold": 0.25, "min_off_seconds": 0.5}


def beeping(folder, broker_port, **more):
    """A configuration whose source beeps every 2 s for 2 s."""
    path = folder / "scene.wav"
    if not path.exists():
        write_scene(path, (None, 2), (3000, 2), rate_hz=48_000)
    return {
        "sources": {"room": {"type": "file", "path": str(path), "loop": True}},
        "events": {"beep": BEEP},
        "smoothing": {"method": "none"},
        "windows": {"window_seconds": 0.5, "hop_seconds": 0.25},
        "mqtt": {"broker": "127.0.0.1", "port": broker_port},
        **more,
    }


async def stopped_in(folder, broker_port, moment):
    """Start a daemon, send SIGTERM at a moment, and return how it ended."""
    folder.mkdir()
    async with daemon(folder, beeping(folder, broker_port)) as running:
        if isinstance(moment, str):
            await running.logged(moment)
        else:
            await asyncio.sleep(moment)
        began = time.monotonic()
        status = await running.stop(30)
        return status, running.log[:-1], time.monotonic() - began


@pytest.mark.parametrize(
    ("broker_is", "moments"),
    [
        ("there", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, "page and metrics at", "listening: ", "room: beep began"]),
        ("absent", [0.8, "page and metrics at", "listening: "]),
        ("frozen", [0.8, "page and metrics at", "listening: "]),
    ],
)
async def test_sigterm_in_every_phase_of_the_start_ends_cleanly_and_in_time(tmp_path, broker_is, moments):
    with mosquitto(tmp_path) as broker:
        if broker_is == "absent":
            broker.stop()
        elif broker_is == "frozen":
            broker.freeze()
        for first in range(0, len(moments), 3):
            chosen = moments[first : first + 3]
            ends = await asyncio.gather(
                *(
                    stopped_in(tmp_path / str(first + index), broker.port, moment)
                    for index, moment in enumerate(chosen)
                )
            )
            for moment, (status, log, seconds) in zip(chosen, ends, strict=True):
                too_early = status == -signal.SIGTERM and not log  # before the first line of the daemon
                assert status == 0 or too_early, (moment, status, log)
                assert not any("Traceback" in line for line in log), log
                assert seconds < 12.0, (moment, seconds)


async def test_sighup_under_load_takes_good_files_refuses_bad_ones_and_loses_no_end(tmp_path):
    with mosquitto(tmp_path) as broker:
        config = beeping(tmp_path, broker.port)
        config["sources"]["hall"] = config["sources"]["room"]
        async with daemon(tmp_path, config) as running, subscriber(broker.port) as received:
            await running.logged("room: beep began")
            good = yaml.safe_load(running.config.read_text())
            other = {**good, "windows": {"window_seconds": 1.0, "hop_seconds": 0.1}}
            for number in range(30):
                text = (yaml.safe_dump(good), "events: 7", yaml.safe_dump(other))[number % 3]
                running.config.write_text(text)
                running.signal(signal.SIGHUP)
                await asyncio.sleep(0.1)
            since = len(running.log)
            running.config.write_text("sources: {}")
            running.signal(signal.SIGHUP)
            await running.logged("the configuration stays as it was", since=since)
            await asyncio.sleep(0.5)
            _, metrics = await running.get("metrics")
            assert "sound_monitor_config_last_reload_successful 0.0" in metrics
            running.config.write_text(yaml.safe_dump(good))
            running.signal(signal.SIGHUP)
            await running.logged("configuration reloaded", since=len(running.log))
            await asyncio.sleep(0.2)
            _, metrics = await running.get("metrics")
            assert "sound_monitor_config_last_reload_successful 1.0" in metrics
            since = len(running.log)
            await running.logged("room: beep began", since=since)
            assert await running.stop() == 0
            assert not any("Traceback" in line for line in running.log)
            await received.until(lambda: received.last("sound-monitor/status") == "offline")
            told = {}
            for event in received.events():
                told.setdefault(event["id"], []).append(event["phase"])
            assert len(told) > 2
            assert {tuple(phases) for phases in told.values()} == {("start", "end")}


async def test_5000_events_of_an_hour_without_a_broker_are_delivered_in_order_within_a_minute(tmp_path):
    """They wait in the outbox of a real daemon, whose sound goes on meanwhile without a lost window."""
    now = time.time() - 3600.0
    events = [
        an_event(number, source, phase=phase)
        for number in range(1250)
        for source in ("hall", "yard")
        for phase in (Phase.START, Phase.END)
    ]
    with memory_folder() as folder:
        async with Outbox(folder / "outbox.db", clock=lambda: now) as outbox:
            for event in events:
                now += 3600.0 / len(events)
                await outbox.put(event)
        (tmp_path / "state").mkdir()
        shutil.copy(folder / "outbox.db", tmp_path / "state")
    with mosquitto(tmp_path) as broker:
        broker.stop()
        async with daemon(tmp_path, beeping(tmp_path, broker.port)) as running:
            await running.logged("room: beep ended")
            assert (await running.status())["outbox"]["pending"] >= len(events)
            broker.start()
            async with subscriber(broker.port) as received:
                began = time.monotonic()
                await received.until(lambda: len(received.messages) >= len(events), 120)
                await received.until(lambda: received.last("sound-monitor/status") == "online")
                seconds = time.monotonic() - began
                print(f"{len(events)} events delivered in {seconds:.1f} s")  # noqa: T201
                assert seconds < 60.0
                async with asyncio.timeout(30):
                    while (await running.status())["outbox"]["pending"]:  # noqa: ASYNC110 - of a process
                        await asyncio.sleep(0.1)
                _, metrics = await running.get("metrics")
                assert 'windows_dropped_total{reason="superseded",source="room"} 0.0' in metrics
                assert await running.stop() == 0
        got = [event for event in received.events() if event["source"] != "room"]
        names = dict.fromkeys((event["id"], event["phase"]) for event in got)
        assert list(names) == [(event.id, str(event.phase)) for event in events]


async def test_a_wall_clock_set_by_an_hour_or_by_weeks_loses_and_ages_no_event(tmp_path):
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("<d", 0.0))
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent / "set_clock"),
        "SOUND_MONITOR_TEST_CLOCK": str(clock),
    }
    with mosquitto(tmp_path) as broker:
        broker.stop()
        config = beeping(tmp_path, broker.port, log={"format": "json"})
        async with daemon(tmp_path, config, environment) as running:
            for offset in (3600.0, -3600.0, 30 * 86_400.0, 0.0):
                since = len(running.log)
                await running.logged("room: beep began", since=since)
                with clock.open("r+b") as file:  # truncated, it would be a SIGBUS for who has it mapped
                    file.write(struct.pack("<d", offset))
            await running.logged("room: beep ended", since=len(running.log))
            assert not any("dropped" in line for line in running.log)
            broker.start()
            async with subscriber(broker.port) as received:
                decided = [json.loads(line) for line in running.log if '"event"' in line]
                await received.until(lambda: len(received.events()) >= len(decided))
                assert await running.stop() == 0
            decided = [line["event"] for line in map(json.loads, running.log[:-1]) if "event" in line]
        ids = [(event["id"], event["phase"]) for event in decided]
        assert ids[: len(received.events())] == [(each["id"], each["phase"]) for each in received.events()]
        assert all(each["ended_at"] >= each["started_at"] for each in decided if each["phase"] == "end")
        times = [json.loads(line)["time"] for line in running.log[:-1]]
        assert max(times) - min(times) > 29 * 86_400, "the daemon did see the other times"


FAILING = """
import os, sys
from monitor.encoders import compact
from monitor.errors import EncoderError
whole = compact.CompactEncoder.embed_audio
calls = 0
def failing(self, windows):
    global calls
    calls += 1
    if calls > 4:
        raise EncoderError("CUDA error: out of memory")
    return whole(self, windows)
compact.CompactEncoder.embed_audio = failing
from monitor.cli import main
main(["run", sys.argv[1]])
"""


async def test_a_model_that_fails_again_after_its_rebuild_ends_the_process_with_1_and_says_why(tmp_path):
    with mosquitto(tmp_path) as broker:
        config = beeping(tmp_path, broker.port) | {"http": {"port": 0}, "state_directory": str(tmp_path)}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", FAILING, str(tmp_path / "config.yaml")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("the model failed and is being rebuilt: CUDA error: out of memory") == 1
        assert done.stderr.splitlines()[-1] == "sound-monitor: CUDA error: out of memory"
        assert "Traceback" not in done.stderr
        async with subscriber(broker.port) as late:
            await late.until(lambda: late.last("sound-monitor/status") == "offline")


async def test_a_full_disk_is_seen_in_the_metrics_while_events_are_told_all_the_same(tmp_path, small_disk):
    with mosquitto(tmp_path) as broker:
        config = beeping(tmp_path, broker.port, state_directory=str(small_disk))
        async with daemon(tmp_path, config) as running, subscriber(broker.port) as received:
            await running.logged("room: beep ended")
            ballast = small_disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(512))
            broker.stop()
            await running.logged("wait in memory until the disk takes them")
            for _ in count():
                _, metrics = await running.get("metrics")
                if "sound_monitor_outbox_unsaved_events 0.0" not in metrics:
                    break
                await asyncio.sleep(0.2)
            broker.start()
            ballast.unlink()
            await running.logged("written again, nothing waits in memory only")
            await running.logged("room: beep ended", since=len(running.log))
            assert await running.stop() == 0
            assert 'dropped_total{reason="disk"} 0.0' in metrics
            del received
