"""An occurrence that lasts when the daemon is killed has its end told by the next one."""

import signal

import pytest
import yaml
from daemon import daemon, subscriber
from mosquitto import mosquitto
from tones import write_scene

pytestmark = pytest.mark.real


def beeping(tmp_path, broker_port, **events):
    scene = write_scene(tmp_path / "scene.wav", (3000, 60), rate_hz=48_000)
    quiet = write_scene(tmp_path / "quiet.wav", (None, 60), rate_hz=48_000)
    beep = {"prompts": "a high-pitched tone", "on_threshold": 0.3, "off_threshold": 0.25}
    return {
        "sources": {
            "room": {"type": "file", "path": str(scene), "loop": True},
            "hall": {"type": "file", "path": str(scene), "loop": True},
        },
        "events": events or {"beep": beep, "tone": beep},
        "mqtt": {"broker": "127.0.0.1", "port": broker_port},
    }, {"type": "file", "path": str(quiet), "loop": True}


def phases(received):
    """What each occurrence was told to be, by its source, event and id; repeated deliveries count once."""
    told = {}
    for event in received.events():
        said = told.setdefault((event["source"], event["event"], event["id"]), [])
        if event["phase"] not in said:
            said.append(event["phase"])
    return told


async def test_kill_9_while_events_last_and_their_source_or_event_is_gone_afterwards(tmp_path):
    with mosquitto(tmp_path) as broker:
        config, quiet = beeping(tmp_path, broker.port)
        async with subscriber(broker.port) as received:
            async with daemon(tmp_path, config) as running:
                await received.until(lambda: len(phases(received)) == 4)
                running.signal(signal.SIGKILL)
                await running.ended()
            begun = phases(received)
            assert {tuple(each) for each in begun.values()} == {("start",)}
            del config["events"]["tone"], config["sources"]["hall"]
            config["sources"]["room"] = quiet
            async with daemon(tmp_path, config) as running:
                await received.until(lambda: all(each[-1] == "end" for each in phases(received).values()))
                told = phases(received)
                assert told.keys() == begun.keys(), "no new occurrence, no other id"
                assert {tuple(each) for each in told.values()} == {("start", "end")}
                ends = [event for event in received.events() if event["phase"] == "end"]
                assert {end["reason"] for end in ends} == {"restart"}
                assert all(end["ended_at"] >= end["started_at"] for end in ends)
                await running.logged("hall: tone ended after .* restart")
                assert await running.stop() == 0
            async with daemon(tmp_path, config) as running:
                await running.logged("listening: ")
                assert not any("restart" in line for line in running.log)
                assert await running.stop() == 0
        async with subscriber(broker.port) as late:
            await late.until(lambda: late.last("sound-monitor/status") == "offline")
            await late.until(lambda: late.last("sound-monitor/room/beep/state") == "OFF")
            for gone in ("room/tone", "hall/beep", "hall/tone"):
                assert late.last(f"sound-monitor/{gone}/state") is None
                assert late.last(f"sound-monitor/{gone}/attributes") is None


async def test_a_reload_keeps_what_lasts_so_that_a_kill_afterwards_still_ends_it(tmp_path):
    with mosquitto(tmp_path) as broker:
        config, _ = beeping(tmp_path, broker.port)
        async with subscriber(broker.port) as received:
            async with daemon(tmp_path, config) as running:
                await received.until(lambda: len(phases(received)) == 4)
                written = yaml.safe_load(running.config.read_text())
                del written["events"]["tone"]
                running.config.write_text(yaml.safe_dump(written))
                running.signal(signal.SIGHUP)
                await running.logged("configuration reloaded")
                running.signal(signal.SIGKILL)
                await running.ended()
            async with daemon(tmp_path, config) as running:
                await running.logged("listening: ")
                assert await running.stop() == 0
            await received.until(lambda: received.last("sound-monitor/status") == "offline")
            assert {tuple(each) for each in phases(received).values()} == {("start", "end")}
            ends = {event["id"]: event for event in received.events() if event["phase"] == "end"}
            reasons = [end["reason"] for end in ends.values()]
            assert reasons.count("reload") == reasons.count("restart") == 2
