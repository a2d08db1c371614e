"""Discovery, switches, removal and birth with a real mosquitto."""
# ruff: noqa: ASYNC240 - a test may block its own event loop

import asyncio
import json
import logging
import signal
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from daemon import daemon
from mosquitto import mosquitto
from mqtt_kit import PREFIX, Receiver, an_event, broker, delivered, retained, until
from tones import write_scene

from monitor.config import Config
from monitor.errors import MonitorError
from monitor.outbox import Outbox
from monitor.outlets import MqttOutlet, mqtt_outlet
from monitor.sinks.discovery import discovery
from monitor.sinks.mqtt import MqttSink
from monitor.status import DropReason, SourceState, SourceStatus
from monitor.switches import NOTHING_OFF, Switches

__all__ = ["broker"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def config_for(broker, sources=("hall",), events=("dog_bark", "siren"), **mqtt):
    return Config.model_validate(
        {
            "sources": {name: {"type": "demo"} for name in sources},
            "events": {name: name.replace("_", " ") for name in events},
            "mqtt": {"broker": "127.0.0.1", "port": broker.port, **mqtt},
        }
    )


@asynccontextmanager
async def connected(config, folder):
    async with mqtt_outlet(config, config.mqtt, folder) as outlet:
        await until(lambda: outlet.connected)
        yield outlet


async def held(broker):
    """Return what the broker holds: discovery, and the rest."""
    everything = (await retained(broker)).items()
    return (
        {topic: payload for topic, payload in everything if topic.startswith("homeassistant/")},
        {topic: payload for topic, payload in everything if not topic.startswith("homeassistant/")},
    )


def publish(broker, topic, payload, *options):
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload, *options]
    subprocess.run(command, check=True)


async def test_at_the_connect_everything_is_announced_before_online(broker, tmp_path):
    config = config_for(broker)
    async with Receiver(broker) as receiver, connected(config, tmp_path) as outlet:
        await outlet.switched(Switches(frozenset({"hall/siren"})))
        await until(lambda: receiver.last("hall/siren/enabled") == "OFF" and receiver.last("status"))
        topics = [topic for topic, _, _ in receiver.messages]
        announced = discovery(config, config.mqtt)
        assert topics[: len(announced)] == list(announced)
        assert topics.index("sound-monitor/status") > topics.index("sound-monitor/hall/siren/state")
        found, states = await held(broker)
        assert found == {topic: payload.decode() for topic, payload in announced.items()}
        assert states == {
            "status": "online",
            "hall/status": "offline",
            "hall/enabled": "ON",
            "hall/dog_bark/state": "OFF",
            "hall/dog_bark/enabled": "ON",
            "hall/siren/state": "OFF",
            "hall/siren/enabled": "OFF",
        }


async def test_what_leaves_the_configuration_leaves_the_broker(broker, tmp_path):
    wide = config_for(broker, ("hall", "yard"))
    async with Receiver(broker) as receiver, connected(wide, tmp_path) as outlet:
        await outlet.switched(NOTHING_OFF)
        await until(lambda: receiver.last("status") == "online")
        narrow = config_for(broker, ("hall",), ("siren",))
        outlet.configure(narrow)
        await until(lambda: not any("yard" in topic for topic in outlet._sink.retained._known))
        found, states = await held(broker)
        assert set(found) == set(discovery(narrow, narrow.mqtt))
        assert {topic.split("/")[0] for topic in states} == {"status", "hall"}
        assert not any("dog_bark" in topic for topic in states)
        receiver.messages.clear()
        outlet.configure(wide)
        await until(lambda: receiver.last("yard/siren/enabled") == "ON")
        found, _ = await held(broker)
        assert set(found) == set(discovery(wide, wide.mqtt))


@pytest.mark.parametrize(
    "change",
    [
        {"sources": ("hall",), "events": ("siren",)},
        {"prefix": "elsewhere"},
        {"homeassistant": {"enabled": False}},
        {"homeassistant": {"discovery_prefix": "ha"}},
    ],
)
async def test_what_leaves_while_the_monitor_is_stopped_goes_at_the_next_start(change, broker, tmp_path):
    before = config_for(broker, ("hall", "yard"))
    async with connected(before, tmp_path) as outlet:
        await outlet.switched(NOTHING_OFF)
    after = config_for(broker, **{"sources": ("hall", "yard"), **change})
    async with connected(after, tmp_path) as outlet:
        await outlet.switched(NOTHING_OFF)
        await until(lambda: not outlet._sink.retained.untold)
    topics = {*outlet._topics.retained(after.switches()), *discovery(after, after.mqtt)}
    unsaid = {topic for topic in topics if topic.endswith(("attributes", "diagnostics"))}
    assert set(await retained(broker)) == {topic.removeprefix(f"{PREFIX}/") for topic in topics - unsaid}


async def test_after_home_assistants_birth_everything_is_told_again_once(broker, tmp_path):
    config = config_for(broker)
    async with Outbox(tmp_path / "outbox.db") as outbox:
        sink = MqttSink(config.mqtt, outbox, birth_seconds=(0.05, 0.1))
        outlet = MqttOutlet(config, config.mqtt, sink, outbox)
        async with asyncio.TaskGroup() as group:
            group.create_task(sink.run())
            await until(lambda: sink.connected and not sink.retained.untold)
            async with Receiver(broker) as receiver:
                await until(lambda: receiver.last("status") == "online")
                receiver.messages.clear()
                publish(broker, "homeassistant/status", "offline")
                for _ in range(3):
                    publish(broker, "homeassistant/status", "online")
                await until(lambda: receiver.last("hall/siren/state") == "OFF")
                await until(lambda: not sink.retained.untold)
                await outlet.switched(NOTHING_OFF)
                await until(lambda: receiver.last("hall/siren/enabled") == "ON")
                told = [(t, p) for t, p, _ in receiver.messages if t != "homeassistant/status"]
            expected = list(discovery(config, config.mqtt))
            assert [topic for topic, _ in told][: len(expected)] == expected
            assert told.count(("sound-monitor/hall/siren/state", "OFF")) == 1
            await sink.stop()


async def test_a_retained_birth_is_none(broker, tmp_path):
    publish(broker, "homeassistant/status", "online", "-r")
    config = config_for(broker)
    async with connected(config, tmp_path) as outlet:
        await until(lambda: "Sending PUBLISH to sound-monitor" in broker.log)
        publish(broker, "sound-monitor/hall/set", "OFF")
        await asyncio.wait_for(outlet._sink.commands.next(), 10)
        assert outlet._sink._birth is None


async def test_commands_turn_switches_and_a_refusal_is_told(broker, tmp_path, caplog):
    config = config_for(broker)
    asked = []

    async def enable(source, event, on):
        asked.append((source, event, on))
        if event == "siren":
            raise MonitorError("siren on hall isn't listened for and can't be switched")

    publish(broker, "sound-monitor/hall/set", "OFF", "-r")
    async with connected(config, tmp_path) as outlet:
        obeying = asyncio.create_task(outlet.obey(enable))
        await until(lambda: "a retained command is ignored" in caplog.text)
        publish(broker, "sound-monitor/hall/siren/set", "OFF")
        publish(broker, "sound-monitor/hall/dog_bark/set", "maybe")
        publish(broker, "sound-monitor/hall/dog_bark/set", "OFF")
        publish(broker, "sound-monitor/hall/set", "ON")
        await until(lambda: len(asked) == 3)
        obeying.cancel()
    assert asked == [("hall", "siren", False), ("hall", "dog_bark", False), ("hall", None, True)]
    assert "siren on hall isn't listened for" in caplog.text
    assert "sound-monitor/hall/dog_bark/set: a command is ON or OFF" in caplog.text


NO_SUBSCRIPTIONS = {
    "defaultACLAccess": {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    },
    "clients": [],
    "groups": [],
    "roles": [],
}


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_broker_that_allows_no_subscription_gets_events_all_the_same(version, tmp_path, caplog):
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(NO_SUBSCRIPTIONS))
    (plugin,) = Path("/usr/lib").glob("*/mosquitto_dynamic_security.so")
    lines = [f"plugin {plugin}", f"plugin_opt_config_file {rules}"]
    with mosquitto(tmp_path, more=lines) as broker:
        async with connected(config_for(broker, version=version), tmp_path) as outlet:
            await outlet.deliver(an_event(1))
            await delivered(outlet._outbox)
            broker.kill()
            await until(lambda: not outlet.connected)
            broker.start()
            await until(lambda: outlet.connected)
    refusals = [record for record in caplog.records if "refuses a subscription to" in record.getMessage()]
    assert len([record for record in refusals if record.levelno == logging.WARNING]) == 1
    assert "sound-monitor/+/set; allow it in its access list; until then" in refusals[0].getMessage()


def status(name="hall", **more):
    return SourceStatus(name, SourceState.ONLINE, level_dbfs=-31.42, **more)


async def test_problems_are_told_at_once_and_counters_and_levels_now_and_then(broker, tmp_path):
    config = config_for(broker)
    async with Receiver(broker) as receiver, connected(config, tmp_path) as outlet:
        await until(lambda: not outlet._sink.retained.untold)

        def told():
            payload = receiver.last("hall/diagnostics")
            return payload and json.loads(payload)

        outlet.observe([status()], now=100.0)
        quiet = {"problem": None, "windows_dropped": 0, "overflows": 0, "restarts": 0}
        await until(lambda: told() == quiet and receiver.last("hall/level_dbfs") == "-31.4")
        dropped = {DropReason.SUPERSEDED: 7}
        outlet.observe([status(windows_dropped=dropped)], now=109.0)
        outlet.observe([status(windows_dropped=dropped, problem="muted")], now=109.5)
        await until(lambda: told() == quiet | {"problem": "muted", "windows_dropped": 7})
        lost = SourceStatus("yard", SourceState.OFFLINE, level_dbfs=-20.0)
        outlet.observe([lost, status(overflows=2, restarts=1)], now=110.0)
        await until(lambda: told() == quiet | {"overflows": 2, "restarts": 1})

        def times(topic):
            return [told for told, _, _ in receiver.messages].count(f"sound-monitor/{topic}")

        await until(lambda: times("hall/level_dbfs") == 2)
        assert times("hall/diagnostics") == 3
        assert times("yard/level_dbfs") == 0


def listening(tmp_path, broker):
    """A configuration that hears a beep for ever."""
    scene = write_scene(tmp_path / "scene.wav", (3000, 6), rate_hz=48_000)
    return {
        "sources": {"room": {"type": "file", "path": str(scene), "loop": True}},
        "events": {"beep": {"prompts": "a high-pitched tone", "on_threshold": 0.3, "off_threshold": 0.25}},
        "mqtt": {"broker": "127.0.0.1", "port": broker.port},
    }


async def test_a_running_monitor_is_switched_over_mqtt_and_remembers_it_over_reload_and_restart(
    broker, tmp_path
):
    config = listening(tmp_path, broker)
    async with Receiver(broker) as receiver:
        async with daemon(tmp_path, config) as running:
            await until(lambda: receiver.last("room/beep/state") == "ON", 60)
            publish(broker, "sound-monitor/room/beep/set", "OFF")
            await running.logged("room/beep: detection is switched off")
            await running.logged("room: beep ended .*disabled")
            await until(lambda: receiver.last("room/beep/enabled") == "OFF")
            await until(lambda: receiver.last("room/beep/state") == "OFF")
            assert receiver.events[-1]["reason"] == "disabled"
            status = await running.status()
            assert (status["activities"][0]["enabled"], status["sources"][0]["enabled"]) == (False, True)
            _, metrics = await running.get("metrics")
            assert 'sound_monitor_event_enabled{event="beep",source="room"} 0.0' in metrics
            running.config.write_text(
                yaml.safe_dump(yaml.safe_load(running.config.read_text()) | {"background": ["rain"]})
            )
            running.signal(signal.SIGHUP)
            await running.logged("configuration reloaded")
            assert not (await running.status())["activities"][0]["enabled"]
            assert await running.stop() == 0
        receiver.messages.clear()
        async with daemon(tmp_path, config) as running:
            await running.logged("room/beep: detection is switched off")
            await until(lambda: receiver.last("room/status") == "online", 60)
            await until(lambda: receiver.last("room/beep/enabled") == "OFF")
            publish(broker, "sound-monitor/room/beep/set", "ON")
            await until(lambda: receiver.last("room/beep/state") == "ON", 60)
            assert json.loads((tmp_path / "state" / "switches.json").read_text()) == {"off": []}
            assert await running.stop() == 0
