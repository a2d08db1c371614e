"""What Home Assistant is told about sources and events, key by key."""

import json
import re

import jinja2
import pytest

from monitor import __version__
from monitor.config import Config, MqttConfig
from monitor.sinks.discovery import birth_topic, discovery

HOUSE = Config.model_validate(
    {
        "sources": {"living_room": {"type": "microphone"}, "yard": {"type": "demo"}},
        "events": {
            "dog_bark": {"prompts": "a dog barking"},
            "smoke_alarm": {
                "prompts": "a smoke alarm",
                "device_class": "smoke",
                "sources": ["living_room"],
            },
        },
    }
)
MQTT = MqttConfig()
ONLINE = {"topic": "sound-monitor/status"}


def told(config=HOUSE, mqtt=MQTT):
    return {topic: json.loads(payload) for topic, payload in discovery(config, mqtt).items()}


def entity(component, source, id_):
    return told()[f"homeassistant/{component}/sound-monitor-{source}/{id_}/config"]


def common(component, source, id_, name):
    words = source.replace("_", " ").capitalize()
    return {
        "name": name,
        "unique_id": f"sound-monitor-{source}-{id_}",
        "default_entity_id": f"{component}.{source}_sound_monitor_{name.lower().replace(' ', '_')}",
        "qos": 1,
        "availability": [ONLINE, {"topic": f"sound-monitor/{source}/status"}],
        "availability_mode": "all",
        "device": {
            "identifiers": [f"sound-monitor-{source}"],
            "name": f"{words} sound monitor",
            "manufacturer": "sound-monitor",
            "model": f"{HOUSE.sources[source].type} source",
            "sw_version": __version__,
        },
        "origin": {"name": "sound-monitor", "sw_version": __version__},
    }


def test_every_source_and_event_has_its_entities_and_nothing_else_has():
    entities = [
        *("binary_sensor/dog_bark-detected", "event/events", "switch/enabled", "switch/dog_bark-enabled"),
        *("sensor/level", "sensor/dropped", "binary_sensor/connected", "binary_sensor/problem"),
    ]
    expected = {
        f"homeassistant/{component}/sound-monitor-{source}/{id_}/config"
        for source in HOUSE.sources
        for component, id_ in (each.split("/") for each in entities)
    } | {
        "homeassistant/binary_sensor/sound-monitor-living_room/smoke_alarm-detected/config",
        "homeassistant/switch/sound-monitor-living_room/smoke_alarm-enabled/config",
    }
    assert set(told()) == expected


@pytest.mark.parametrize(
    ("source", "event", "device_class"),
    [
        ("living_room", "dog_bark", "sound"),
        ("living_room", "smoke_alarm", "smoke"),
        ("yard", "dog_bark", "sound"),
    ],
)
def test_an_event_is_a_binary_sensor_with_its_class_and_attributes(source, event, device_class):
    name = {"dog_bark": "Dog bark", "smoke_alarm": "Smoke alarm"}[event]
    assert entity("binary_sensor", source, f"{event}-detected") == common(
        "binary_sensor", source, f"{event}-detected", name
    ) | {
        "state_topic": f"sound-monitor/{source}/{event}/state",
        "json_attributes_topic": f"sound-monitor/{source}/{event}/attributes",
        "json_attributes_template": "{{ value or '{}' }}",
        "device_class": device_class,
    }


def test_templates_bear_a_retained_topic_that_is_being_removed():
    # As Home Assistant renders them: `value_json` is undefined where the payload is no JSON.
    jinja = jinja2.Environment(undefined=jinja2.StrictUndefined)
    rendered = {
        (topic.split("/")[3], key): jinja.from_string(template).render(value="")
        for topic, payload in told().items()
        if not topic.startswith("homeassistant/event/")  # whose topic isn't retained
        for key, template in payload.items()
        if key.endswith("_template")
    }
    assert rendered == {
        ("dog_bark-detected", "json_attributes_template"): "{}",
        ("smoke_alarm-detected", "json_attributes_template"): "{}",
        ("problem", "value_template"): "OFF",
        ("problem", "json_attributes_template"): '{"problem": null}',
        ("dropped", "value_template"): "0",
    }


def test_a_source_has_an_event_entity_with_a_type_for_every_start_and_end():
    kind = "value_json.event ~ '_' ~ value_json.phase"
    assert entity("event", "living_room", "events") == common("event", "living_room", "events", "Events") | {
        "state_topic": "sound-monitor/living_room/event",
        "event_types": ["dog_bark_start", "dog_bark_end", "smoke_alarm_start", "smoke_alarm_end"],
        "value_template": f"{{{{ dict(value_json, event_type={kind}) | tojson }}}}",
        "icon": "mdi:waveform",
    }
    assert entity("event", "yard", "events")["event_types"] == ["dog_bark_start", "dog_bark_end"]


@pytest.mark.parametrize(
    ("id_", "name", "below"),
    [
        ("enabled", "Detection", "living_room"),
        ("dog_bark-enabled", "Dog bark detection", "living_room/dog_bark"),
    ],
)
def test_switches_work_while_the_source_is_away(id_, name, below):
    assert entity("switch", "living_room", id_) == common("switch", "living_room", id_, name) | {
        "state_topic": f"sound-monitor/{below}/enabled",
        "command_topic": f"sound-monitor/{below}/set",
        "icon": "mdi:ear-hearing",
        "entity_category": "config",
        "availability": [ONLINE],
    }


def test_the_level_is_a_measurement_without_a_device_class():
    assert entity("sensor", "yard", "level") == common("sensor", "yard", "level", "Audio level") | {
        "state_topic": "sound-monitor/yard/level_dbfs",
        "unit_of_measurement": "dBFS",
        "state_class": "measurement",
        "icon": "mdi:volume-high",
    }


def test_connection_problem_and_dropped_windows_are_told_while_the_source_is_away():
    assert entity("binary_sensor", "yard", "connected") == common(
        "binary_sensor", "yard", "connected", "Audio connection"
    ) | {
        "state_topic": "sound-monitor/yard/status",
        "payload_on": "online",
        "payload_off": "offline",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "availability": [ONLINE],
    }
    assert entity("binary_sensor", "yard", "problem") == common(
        "binary_sensor", "yard", "problem", "Audio problem"
    ) | {
        "state_topic": "sound-monitor/yard/diagnostics",
        "value_template": "{{ 'ON' if (value_json | default({})).get('problem') else 'OFF' }}",
        "json_attributes_topic": "sound-monitor/yard/diagnostics",
        "json_attributes_template": "{{ {'problem': (value_json|default({})).get('problem')} | tojson }}",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "availability": [ONLINE],
    }
    assert entity("sensor", "yard", "dropped") == common("sensor", "yard", "dropped", "Dropped windows") | {
        "state_topic": "sound-monitor/yard/diagnostics",
        "value_template": "{{ (value_json | default({})).get('windows_dropped', 0) }}",
        "state_class": "total_increasing",
        "icon": "mdi:speedometer-slow",
        "entity_category": "diagnostic",
        "availability": [ONLINE],
    }


def test_a_source_without_events_has_no_event_entity():
    events = {"dog_bark": {"prompts": "a dog barking", "sources": ["yard"]}}
    config = Config.model_validate(HOUSE.model_dump() | {"events": events})
    components = {topic.split("/")[1] for topic in told(config) if "living_room" in topic}
    assert components == {"switch", "sensor", "binary_sensor"}
    assert not any("detected" in topic for topic in told(config) if "living_room" in topic)


def test_no_two_entities_share_an_id_however_names_are_split():
    config = Config.model_validate(
        {
            "sources": {name: {"type": "demo"} for name in ("a", "a_b", "a_b_enabled")},
            "events": dict.fromkeys(["c", "b_c", "enabled", "problem", "level", "b_enabled"], "a sound"),
        }
    )
    payloads = told(config).values()
    assert len({payload["unique_id"] for payload in payloads}) == len(payloads)


def test_ids_last_though_words_classes_and_order_change():
    changed = Config.model_validate(
        {
            "sources": {"yard": {"type": "demo"}, "living_room": {"type": "microphone", "device": "USB"}},
            "events": {
                "smoke_alarm": {"prompts": "beeping", "sources": ["living_room"], "on_threshold": 0.9},
                "dog_bark": {"prompts": ["woof", "a hound"], "device_class": "problem"},
            },
        }
    )
    before = {topic: payload["unique_id"] for topic, payload in told().items()}
    assert {topic: payload["unique_id"] for topic, payload in told(changed).items()} == before


@pytest.mark.parametrize("prefix", ["sound-monitor", "home/sounds", "home_sounds", "klänge"])
def test_topics_are_ones_that_home_assistant_reads(prefix):
    # Home Assistant's own pattern, of homeassistant/components/mqtt/discovery.py.
    pattern = r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config"
    for topic in told(mqtt=MqttConfig(prefix=prefix)):
        assert topic.startswith("homeassistant/")
        assert re.fullmatch(pattern, topic.removeprefix("homeassistant/"))


def test_monitors_of_different_prefixes_do_not_meet():
    prefixes = ["home/sounds", "home_sounds", "home-sounds", "home:sounds"]
    topics = [topic for prefix in prefixes for topic in told(mqtt=MqttConfig(prefix=prefix))]
    assert len(set(topics)) == len(topics)


def test_no_entity_is_named_after_its_device_and_all_of_a_source_share_one():
    devices = {json.dumps(payload["device"]) for payload in told().values()}
    assert len(devices) == len(HOUSE.sources)
    for payload in told().values():
        assert not payload["name"].lower().startswith(payload["device"]["name"].lower())


def test_nothing_told_expires_or_names_words():
    for payload in discovery(HOUSE, MQTT).values():
        assert b"expire_after" not in payload
        assert b"barking" not in payload


def test_the_discovery_prefix_is_the_users_and_false_tells_nothing():
    mqtt = MqttConfig.model_validate({"homeassistant": {"discovery_prefix": "ha/discovery"}})
    assert all(topic.startswith("ha/discovery/") for topic in told(mqtt=mqtt))
    assert birth_topic(mqtt) == "ha/discovery/status"
    assert told(mqtt=MqttConfig.model_validate({"homeassistant": {"enabled": False}})) == {}
