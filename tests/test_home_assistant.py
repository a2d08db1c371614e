"""A real Home Assistant, a real broker and the daemon: what a user sees, through every kind of restart.

`make homeassistant` installs Home Assistant and runs this; `make large` runs it where it is installed.
"""
# ruff: noqa: ASYNC110, T201 - Home Assistant is polled, and figures are told

import asyncio
import itertools
import json
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest
import soundfile
import yaml
from daemon import daemon, subscriber
from home_assistant import HASS, HomeAssistant
from mosquitto import Mosquitto

pytestmark = [
    pytest.mark.large,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not HASS.exists(), reason="Home Assistant isn't installed: run `make homeassistant`"),
]
RATE_HZ = 44_100
DEVICE = "kitchen_sound_monitor"
CLASSES = {"smoke_alarm": "smoke", "dog_bark": "sound"}
FROM_BLUEPRINT = {
    "id": "from_blueprint",
    "alias": "From the blueprint",
    "use_blueprint": {
        "path": "sound_monitor/heard.yaml",
        "input": {"sound": [f"binary_sensor.{DEVICE}_dog_bark"], "pause": 0},
    },
}


def scene(shared, folder):
    """Write half a minute: quiet, a dog, quiet, a siren, quiet."""
    rng = np.random.default_rng(1)
    parts = []
    for recording in ("esc10/dog/4-184575-A.ogg", "esc50/siren/4-111671-A-42.ogg"):
        sound, rate_hz = soundfile.read(shared / "audio" / recording, dtype="float32")
        assert rate_hz == RATE_HZ
        parts += [0.0005 * rng.standard_normal(8 * RATE_HZ, dtype=np.float32), sound]
    path = folder / "scene.flac"
    soundfile.write(path, np.concatenate(parts), RATE_HZ)
    return path


def listening(shared, folder, broker):
    path = str(scene(shared, folder))
    return {
        "sources": {
            "kitchen": {"type": "file", "path": path, "loop": True},
            "yard": {"type": "file", "path": path, "loop": True},
        },
        "events": {
            "dog_bark": {"prompts": "a dog barking", "sources": ["kitchen"]},
            "smoke_alarm": {"prompts": "a siren wailing", "device_class": "smoke"},
            "doorbell": {"prompts": "a doorbell ringing", "on_threshold": 0.9},
        },
        "mqtt": {
            "broker": "127.0.0.1",
            "port": broker.port,
            "homeassistant": {"sensor_seconds": 1},
            "keepalive_seconds": 5,
        },
    }


def expected_entities(config):
    """Return the ids that a configuration gives, as the README names them."""
    ids = set()
    for source in config["sources"]:
        device = f"{source}_sound_monitor"
        names = [name for name, event in config["events"].items() if source in event.get("sources", [source])]
        ids |= {f"binary_sensor.{device}_{name}" for name in names}
        ids |= {f"switch.{device}_{name}_detection" for name in names} | {f"switch.{device}_detection"}
        ids |= {f"binary_sensor.{device}_audio_{what}" for what in ("connection", "problem")}
        ids |= {f"sensor.{device}_audio_level", f"sensor.{device}_dropped_windows"}
        ids |= {f"event.{device}_events"} if names else set()
    return ids


def right(states, status, config):
    """Tell what Home Assistant shows otherwise than the daemon's own status says; empty: nothing."""
    if set(states) != expected_entities(config):
        return set(states) ^ expected_entities(config)
    wanted = {}
    for source in status["sources"]:
        if source["state"] != "online":  # it is being opened
            return {source["name"]}
        device = f"{source['name']}_sound_monitor"
        wanted[f"binary_sensor.{device}_audio_connection"] = "on"
        wanted[f"binary_sensor.{device}_audio_problem"] = "off"
        wanted[f"switch.{device}_detection"] = "on" if source["enabled"] else "off"
    for each in status["activities"]:
        name = f"{each['source']}_sound_monitor_{each['event']}"
        wanted[f"binary_sensor.{name}"] = "on" if each["active"] else "off"
        wanted[f"switch.{name}_detection"] = "on" if each["enabled"] else "off"
    shown = {name: states[name]["state"] for name in wanted}
    unavailable = {name for name, each in states.items() if each["state"] == "unavailable"}
    return {name for name in wanted if shown[name] != wanted[name]} | unavailable


async def settled(hass, running, config, seconds=90.0):
    """Wait until Home Assistant shows what is; return the seconds that it took."""
    began = time.monotonic()
    while wrong := right(await hass.states(), await running.status(), config):
        if time.monotonic() - began > seconds:
            shown = {name: each["state"] for name, each in (await hass.states()).items() if name in wrong}
            raise AssertionError(f"still wrong: {shown or wrong}\n" + "\n".join(running.log[-20:]))
        await asyncio.sleep(0.2)
    return time.monotonic() - began


@asynccontextmanager
async def house(shared, folder, automations=()):
    """Run a broker without a memory and Home Assistant."""
    home = folder / "broker"
    home.mkdir()
    broker = Mosquitto(home)
    broker.start()
    hass = HomeAssistant(folder / "homeassistant", broker.port, list(automations))
    try:
        yield hass, broker, listening(shared, folder, broker)
    finally:
        await hass.stop()
        broker.stop()


def has(name, state):
    return lambda states: states.get(name, {}).get("state") == state


def all_unavailable(states):
    return {each["state"] for each in states.values()} == {"unavailable"}


async def mqtt_entries(hass):
    entries = await hass.ask("config/entity_registry/list")
    return {each["entity_id"]: each for each in entries if each["platform"] == "mqtt"}


async def notifications(hass):
    return {each["notification_id"]: each for each in await hass.ask("persistent_notification/get")}


async def test_a_user_sees_hears_and_switches(shared, tmp_path):
    dog, siren = f"binary_sensor.{DEVICE}_dog_bark", f"binary_sensor.{DEVICE}_smoke_alarm"
    async with house(shared, tmp_path, [FROM_BLUEPRINT]) as (hass, broker, config):
        print(f"\nHome Assistant started in {await hass.start():.0f} s")
        async with daemon(tmp_path, config) as running, subscriber(broker.port) as received:
            await running.logged("listening: ")
            ids = expected_entities(config)
            seconds = await hass.until(lambda states: set(states) == ids)
            print(f"{len(ids)} entities, {seconds:.1f} s after `listening`")
            await check_the_registry(hass, config)
            states = await hass.states()
            for event, device_class in CLASSES.items():
                about = states[f"binary_sensor.{DEVICE}_{event}"]["attributes"]
                assert about["device_class"] == device_class
            events = states[f"event.{DEVICE}_events"]["attributes"]
            kinds = [f"{name}_{phase}" for name in config["events"] for phase in ("start", "end")]
            assert sorted(events["event_types"]) == sorted(kinds)

            await check_what_is_heard(hass, received, dog, siren)
            await check_the_switches(hass, running, received, dog)
            await check_the_examples(hass)

            running.signal(signal.SIGKILL)
            seconds = await hass.until(
                lambda states: {s["state"] for s in states.values()} == {"unavailable"}
            )
            print(f"everything unavailable {seconds:.1f} s after kill -9")
        await check_what_is_removed(hass, tmp_path, config)
        assert not [line for line in hass.warnings() if "broker" not in line.lower()], hass.warnings()


async def check_the_registry(hass, config):
    devices = {
        tuple(each["identifiers"][0])[1]: each for each in await hass.ask("config/device_registry/list")
    }
    assert set(devices) == {f"sound-monitor-{source}" for source in config["sources"]}
    assert devices["sound-monitor-kitchen"]["name"] == "Kitchen sound monitor"
    ours = await mqtt_entries(hass)
    assert set(ours) == expected_entities(config)
    assert ours[f"binary_sensor.{DEVICE}_dog_bark"]["unique_id"] == "sound-monitor-kitchen-dog_bark-detected"
    assert ours[f"binary_sensor.{DEVICE}_dog_bark"]["device_id"] == devices["sound-monitor-kitchen"]["id"]


async def check_what_is_heard(hass, received, dog, siren):
    delays = []
    for _ in range(2):
        for name in (dog, siren):
            event = name.removeprefix(f"binary_sensor.{DEVICE}_")
            topic = f"sound-monitor/kitchen/{event}/state"
            for state, payload in (("on", "ON"), ("off", "OFF")):
                await received.until(lambda topic=topic, payload=payload: received.last(topic) == payload, 90)
                delays.append(await hass.until(has(name, state), 20))
            attributes = (await hass.states())[name]["attributes"]
            assert attributes["score"] >= attributes["threshold"]
            assert attributes["duration_seconds"] > 0
    states = await hass.states()
    assert states[f"event.{DEVICE}_events"]["attributes"]["event_type"] == "smoke_alarm_end"
    assert -120.0 <= float(states[f"sensor.{DEVICE}_audio_level"]["state"]) <= 0.0
    assert int(states[f"sensor.{DEVICE}_dropped_windows"]["state"]) >= 0
    print(f"{len(delays)} changes followed, {max(delays):.2f} s after MQTT at most")


async def check_the_switches(hass, running, received, dog):
    await hass.until(has(dog, "on"), 90)
    switch = f"switch.{DEVICE}_dog_bark_detection"
    await hass.service("switch/turn_off", entity_id=switch)
    seconds = await hass.until(lambda states: has(switch, "off")(states) and has(dog, "off")(states))
    assert {each["reason"] for each in received.events() if each["event"] == "dog_bark"} >= {"disabled"}
    whole = f"switch.{DEVICE}_detection"
    await hass.service("switch/turn_off", entity_id=whole)
    await hass.until(has(whole, "off"))
    assert not (await running.status())["sources"][0]["enabled"]
    for name in (whole, switch):
        await hass.service("switch/turn_on", entity_id=name)
        await hass.until(has(name, "on"))
    await hass.until(has(dog, "on"), 90)
    print(f"a switch took {seconds:.2f} s from the REST call to both states")


async def check_the_examples(hass):
    async with asyncio.timeout(60):
        while not {"smoke_alarm"} <= set(found := await notifications(hass)):
            await asyncio.sleep(0.2)
    assert "score 0." in found["smoke_alarm"]["message"]
    assert any(each["title"] == "Kitchen sound monitor Dog bark" for each in found.values())
    states = {each["entity_id"]: each["state"] for each in await hass.get("states")}
    automations = [state for name, state in states.items() if name.startswith("automation.")]
    assert automations == ["on"] * 6


async def check_what_is_removed(hass, folder, config):
    async with daemon(folder, config) as running:
        await running.logged("listening: ")
        print(f"right {await settled(hass, running, config):.1f} s after its restart")
        less = {**config, "sources": {"kitchen": config["sources"]["kitchen"]}}
        running.config.write_text(
            yaml.safe_dump(yaml.safe_load(running.config.read_text()) | {"sources": less["sources"]})
        )
        running.signal(signal.SIGHUP)
        await running.logged("configuration reloaded")
        seconds = await hass.until(lambda states: set(states) == expected_entities(less))
        print(f"a removed source is gone {seconds:.1f} s after the reload")
        assert await running.stop() == 0
    less["events"] = {name: event for name, event in config["events"].items() if name != "dog_bark"}
    async with daemon(folder, less) as running:
        await running.logged("listening: ")
        seconds = await hass.until(lambda states: set(states) == expected_entities(less))
        print(f"an event that left while stopped is gone {seconds:.1f} s after `listening`")
        entries = [
            each for each in await hass.ask("config/entity_registry/list") if each["platform"] == "mqtt"
        ]
        assert {each["entity_id"] for each in entries} == expected_entities(less)
        assert len(await hass.ask("config/device_registry/list")) == 1
        assert await running.stop() == 0


class Parts:
    """The three that a house can stop and start, each by its name."""

    def __init__(self, hass, broker, folder, config, stack):
        self.hass, self._broker, self._folder, self._config, self._stack = hass, broker, folder, config, stack

    async def start(self, part):
        if part == "hass":
            await self.hass.start()
        elif part == "broker":
            self._broker.start()
        else:
            self.daemon = await self._stack.enter_async_context(daemon(self._folder, self._config))
            await self.daemon.logged("listening: ")

    async def stop(self, part):
        if part == "hass":
            await self.hass.stop()
        elif part == "broker":
            self._broker.kill()
        else:
            self.daemon.signal(signal.SIGKILL)
            await self.daemon.ended()

    async def settled(self):
        return f"{await settled(self.hass, self.daemon, self._config):.1f} s"


async def test_everything_is_right_after_restarts_in_every_order(shared, tmp_path):
    async with house(shared, tmp_path) as (hass, broker, config), AsyncExitStack() as stack:
        parts = Parts(hass, broker, tmp_path, config, stack)
        for part in ("daemon", "hass"):
            await parts.start(part)
        print(f"\nfirst start: right after {await parts.settled()}")
        switch = "switch.yard_sound_monitor_smoke_alarm_detection"
        await hass.service("switch/turn_off", entity_id=switch)
        await hass.until(has(switch, "off"))
        for part in ("hass", "broker", "daemon"):
            await parts.stop(part)
            await parts.start(part)
            print(f"{part} alone restarted: right after {await parts.settled()}")
        for order in itertools.permutations(("hass", "broker", "daemon")):
            for part in order:
                await parts.stop(part)
            for part in order:
                await parts.start(part)
            print(f"all stopped, then {', '.join(order)}: right after {await parts.settled()}")
            assert (await hass.states())[switch]["state"] == "off"
        remembered = json.loads((tmp_path / "state" / "switches.json").read_text())
        assert remembered == {"off": ["yard/smoke_alarm"]}
        assert await parts.daemon.stop() == 0
