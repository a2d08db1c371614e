"""Real sound through real parts: PulseAudio, the daemon as a process, mosquitto and Prometheus."""

import asyncio
import re
import signal

import pytest
import yaml
from daemon import daemon, subscriber
from mosquitto import Mosquitto, mosquitto
from prometheus import prometheus
from pulse import pulse_server
from tones import write_scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# Fold 4, which the built-in encoder has never heard.
RECORDINGS = {
    "dog_bark": "esc10/dog/4-184575-A.ogg",
    "baby_cry": "esc10/crying_baby/4-185575-A.ogg",
    "siren": "esc50/siren/4-111671-A-42.ogg",
    "alarm_clock": "esc50/clock_alarm/4-209536-A-37.ogg",
}
EVENTS = {
    "dog_bark": {"prompts": ["a dog barking"]},
    "baby_cry": {"prompts": ["a baby crying"]},
    "siren": {"prompts": ["a siren wailing"]},
    "alarm_clock": {"prompts": ["an alarm clock ringing"]},
}


def microphone(broker: Mosquitto, **more):
    return {
        "sources": {"room": {"type": "microphone"}},
        "events": EVENTS,
        "mqtt": {"broker": "127.0.0.1", "port": broker.port},
        **more,
    }


def told(received, name):
    return [event["phase"] for event in received.events() if event["event"] == name]


async def test_recordings_played_into_a_microphone_are_told_to_mqtt_and_prometheus(shared, tmp_path):
    with pulse_server() as pulse, mosquitto(tmp_path) as broker:
        async with (
            daemon(tmp_path, microphone(broker), pulse.environment) as running,
            subscriber(broker.port) as received,
        ):
            await running.logged("source room: delivers sound")
            host = (await running.url()).removeprefix("http://").rstrip("/")
            async with prometheus([host]) as prom:
                for name, recording in RECORDINGS.items():
                    player = pulse.play(shared / "audio" / recording)
                    await received.until(lambda name=name: told(received, name)[:1] == ["start"])
                    score = f'max_over_time(sound_monitor_event_score{{event="{name}"}}[1m])'
                    await prom.until(score, lambda series: series and series[0].value >= 0.5)
                    await received.until(lambda name=name: told(received, name)[-1:] == ["end"])
                    assert await asyncio.to_thread(player.wait, 30) == 0
                await prom.until("sound_monitor_source_up == 1")
                await prom.until(
                    'sum(sound_monitor_events_total{source="room"})', lambda series: series[0].value >= 4
                )
            ids = [(event["id"], event["phase"]) for event in received.events()]
            assert len(set(ids)) == len(ids)
            assert (await running.get("healthz"))[0] == 200
            async with subscriber(broker.port) as late:
                await late.until(lambda: late.last("sound-monitor/room/dog_bark/attributes"))
                await late.until(lambda: late.last("sound-monitor/status") == "online")
                await late.until(lambda: late.last("sound-monitor/room/status") == "online")
                states = [f"sound-monitor/room/{name}/state" for name in EVENTS]
                await late.until(lambda: [late.last(topic) for topic in states] == ["OFF"] * len(states))
                assert all(retained for _, _, retained in late.messages)
            assert await running.stop() == 0
            await received.until(lambda: received.last("sound-monitor/status") == "offline")


async def test_an_unplugged_microphone_ends_its_events_and_is_listened_to_again(shared, tmp_path):
    with pulse_server() as pulse, mosquitto(tmp_path) as broker:
        async with (
            daemon(tmp_path, microphone(broker), pulse.environment) as running,
            subscriber(broker.port) as received,
        ):
            await running.logged("source room: delivers sound")
            pulse.play(shared / "audio" / RECORDINGS["siren"])
            await received.until(lambda: told(received, "siren") == ["start"])
            pulse.unplug()
            await received.until(lambda: told(received, "siren") == ["start", "end"])
            assert received.events()[-1]["reason"] == "source_lost"
            await received.until(lambda: received.last("sound-monitor/room/status") == "offline")
            assert (await running.get("healthz"))[0] == 503
            pulse.plug_in()
            await received.until(lambda: received.last("sound-monitor/room/status") == "online", 60)
            pulse.play(shared / "audio" / RECORDINGS["siren"])
            await received.until(lambda: told(received, "siren")[:3] == ["start", "end", "start"])


def looping(tmp_path, broker_port):
    """A configuration that needs no microphone: tones that come and go for ever."""
    scene = write_scene(tmp_path / "scene.wav", (None, 4), (3000, 4), rate_hz=48_000)
    return {
        "sources": {"room": {"type": "file", "path": str(scene), "loop": True}},
        "events": {"beep": {"prompts": "a high-pitched tone", "on_threshold": 0.3, "off_threshold": 0.25}},
        "mqtt": {"broker": "127.0.0.1", "port": broker_port},
    }


async def test_a_broker_that_is_absent_killed_and_restarted_loses_no_event(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Mosquitto(folder)
    try:
        async with daemon(tmp_path, looping(tmp_path, broker.port)) as running:
            await running.logged("room: beep ended")  # decided while there is no broker
            broker.start()
            async with subscriber(broker.port) as received:
                await received.until(lambda: told(received, "beep")[:2] == ["start", "end"])
            broker.kill()
            since = len(running.log)
            await running.logged("room: beep began", since=since)
            broker.start()  # remembers nothing
            async with subscriber(broker.port) as received:
                await received.until(lambda: received.last("sound-monitor/status") == "online")
                await received.until(lambda: received.last("sound-monitor/room/beep/state") in {"ON", "OFF"})
            assert await running.stop() == 0
            decided = sum("room: beep " in line for line in running.log)
            published = re.findall(r"Received PUBLISH .*'sound-monitor/room/event'", broker.log)
            assert len(published) >= decided >= 4
    finally:
        broker.stop()


async def test_sigterm_ends_in_time_with_offline_retained_and_events_ended(tmp_path):
    with mosquitto(tmp_path) as broker:
        async with daemon(tmp_path, looping(tmp_path, broker.port)) as running:
            await running.logged("room: beep began")
            clock = asyncio.get_running_loop().time
            began = clock()
            assert await running.stop() == 0
            assert clock() - began < 6.0
        async with subscriber(broker.port) as late:
            await late.until(lambda: late.last("sound-monitor/status") == "offline")
            await late.until(lambda: late.last("sound-monitor/room/beep/state") == "OFF")


async def test_sigterm_while_the_model_loads_ends_cleanly(tmp_path):
    with mosquitto(tmp_path) as broker:
        async with daemon(tmp_path, looping(tmp_path, broker.port)) as running:
            await running.logged("page and metrics at")
            assert await running.stop(6) == 0


async def test_sighup_takes_a_good_file_and_refuses_a_bad_one(tmp_path):
    with mosquitto(tmp_path) as broker:
        config = looping(tmp_path, broker.port)
        async with daemon(tmp_path, config) as running:
            await running.logged("room: beep began")
            written = yaml.safe_load(running.config.read_text())
            written["events"]["beep"]["on_threshold"] = 7
            running.config.write_text(yaml.safe_dump(written))
            running.signal(signal.SIGHUP)
            await running.logged(
                "the configuration stays as it was: .*on_threshold: 7 is not between 0 and 1"
            )
            _, metrics = await running.get("metrics")
            assert "sound_monitor_config_last_reload_successful 0.0" in metrics
            written["events"] = {"whistle": "a whistle"}
            running.config.write_text(yaml.safe_dump(written))
            running.signal(signal.SIGHUP)
            await running.logged("configuration reloaded: 1 source, 1 event")
            status = await running.status()
            assert [event["name"] for event in status["events"]] == ["whistle"]
            assert status["reload"]["ok"]
            await running.stop()
        async with subscriber(broker.port) as late:
            await late.until(lambda: late.last("sound-monitor/room/whistle/state") == "OFF")
            assert late.last("sound-monitor/room/beep/state") is None


async def test_a_port_that_is_taken_is_one_clear_line(tmp_path):
    with mosquitto(tmp_path) as broker:
        config = looping(tmp_path, broker.port) | {"http": {"port": broker.port}}
        async with daemon(tmp_path, config) as running:
            assert await running.ended() == 1
            assert f"{broker.port}" in running.log[-2]
            assert not any("Traceback" in line for line in running.log)
