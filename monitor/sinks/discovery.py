"""What Home Assistant is told about the monitor: one device a source, and the entities of each.

Every entity has a message of its own (`homeassistant/<component>/<node>/<object>/config`), which all versions
since 2023 read. `default_entity_id` is what older versions make of the two names, so that an entity is called
the same everywhere. Templates bear an empty payload without a warning: a topic that is removed may be emptied
before Home Assistant has dropped its entity.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from monitor import __version__
from monitor.config import Config, MqttConfig
from monitor.sinks.messages import Topics, to_json
from monitor.types import Phase

_ORIGIN = {"name": "sound-monitor", "sw_version": __version__}


def birth_topic(config: MqttConfig) -> str:
    """Return where Home Assistant says `online` when it has started."""
    return f"{config.homeassistant.discovery_prefix}/status"


def discovery(config: Config, mqtt: MqttConfig) -> dict[str, bytes]:
    """Return the messages that announce every source and event, by topic; none where that is turned off."""
    if not mqtt.homeassistant.enabled:
        return {}
    messages: dict[str, bytes] = {}
    for source in config.sources:
        messages |= _Device(config, mqtt, source).messages()
    return messages


class _Device:
    """One source, as Home Assistant sees it."""

    def __init__(self, config: Config, mqtt: MqttConfig, source: str) -> None:
        self._config = config
        self._topics = Topics(mqtt.prefix)
        self._prefix = mqtt.homeassistant.discovery_prefix
        self._source = source
        self._node = f"{_node(mqtt.prefix)}-{source}"
        self._name = f"{_in_words(source)} sound monitor"
        self._events = [event for event in config.events if config.listens(source, event)]

    def messages(self) -> dict[str, bytes]:
        """Return everything about the source."""
        return dict(
            [
                *(self._detected(event) for event in self._events),
                *([self._event_entity()] if self._events else []),
                self._switch(None, "Detection"),
                *(self._switch(event, f"{_in_words(event)} detection") for event in self._events),
                self._level(),
                self._connection(),
                self._problem(),
                self._dropped(),
            ]
        )

    def _detected(self, event: str) -> tuple[str, bytes]:
        about = {
            "state_topic": self._topics.state(self._source, event),
            "json_attributes_topic": self._topics.attributes(self._source, event),
            "json_attributes_template": "{{ value or '{}' }}",
            "device_class": self._config.events[event].device_class or "sound",
        }
        return self._message("binary_sensor", f"{event}-detected", _in_words(event), about)

    def _event_entity(self) -> tuple[str, bytes]:
        kind = "value_json.event ~ '_' ~ value_json.phase"
        about = {
            "state_topic": self._topics.event(self._source),
            "event_types": [f"{event}_{phase}" for event in self._events for phase in Phase],
            "value_template": f"{{{{ dict(value_json, event_type={kind}) | tojson }}}}",
            "icon": "mdi:waveform",
        }
        return self._message("event", "events", "Events", about)

    def _switch(self, event: str | None, name: str) -> tuple[str, bytes]:
        about = {
            "state_topic": self._topics.enabled(self._source, event),
            "command_topic": self._topics.command(self._source, event),
            "icon": "mdi:ear-hearing",
            "entity_category": "config",
        }
        id_ = "enabled" if event is None else f"{event}-enabled"
        return self._message("switch", id_, name, about, while_lost=True)

    def _level(self) -> tuple[str, bytes]:
        # No device class: a level below full scale is not a sound pressure.
        about = {
            "state_topic": self._topics.level(self._source),
            "unit_of_measurement": "dBFS",
            "state_class": "measurement",
            "icon": "mdi:volume-high",
        }
        return self._message("sensor", "level", "Audio level", about)

    def _connection(self) -> tuple[str, bytes]:
        about = {
            "state_topic": self._topics.source_status(self._source),
            "payload_on": "online",
            "payload_off": "offline",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        }
        return self._message("binary_sensor", "connected", "Audio connection", about, while_lost=True)

    def _problem(self) -> tuple[str, bytes]:
        about = {
            "state_topic": self._topics.diagnostics(self._source),
            "value_template": "{{ 'ON' if (value_json | default({})).get('problem') else 'OFF' }}",
            "json_attributes_topic": self._topics.diagnostics(self._source),
            "json_attributes_template": "{{ {'problem': (value_json|default({})).get('problem')} | tojson }}",
            "device_class": "problem",
            "entity_category": "diagnostic",
        }
        return self._message("binary_sensor", "problem", "Audio problem", about, while_lost=True)

    def _dropped(self) -> tuple[str, bytes]:
        about = {
            "state_topic": self._topics.diagnostics(self._source),
            "value_template": "{{ (value_json | default({})).get('windows_dropped', 0) }}",
            "state_class": "total_increasing",
            "icon": "mdi:speedometer-slow",
            "entity_category": "diagnostic",
        }
        return self._message("sensor", "dropped", "Dropped windows", about, while_lost=True)

    def _message(
        self,
        component: str,
        id_: str,
        name: str,
        about: Mapping[str, object],
        *,
        while_lost: bool = False,
    ) -> tuple[str, bytes]:
        """Return topic and payload of one entity; `while_lost`: of use while the source is away, too."""
        topics = [self._topics.status] + ([] if while_lost else [self._topics.source_status(self._source)])
        # Neither ids nor topics come from an index or a prompt: they last as long as the names in the file.
        payload = {
            "name": name,
            "unique_id": f"{self._node}-{id_}",
            "default_entity_id": f"{component}.{_slug(f'{self._name} {name}')}",
            **about,
            "qos": 1,
            "availability": [{"topic": topic} for topic in topics],
            "availability_mode": "all",
            "device": {
                "identifiers": [self._node],
                "name": self._name,
                "manufacturer": "sound-monitor",
                "model": f"{self._config.sources[self._source].type} source",
                "sw_version": __version__,
            },
            "origin": _ORIGIN,
        }
        return f"{self._prefix}/{component}/{self._node}/{id_}/config", to_json(payload)


def _in_words(slug: str) -> str:
    return " ".join(slug.split("_")).strip().capitalize() or slug


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _node(prefix: str) -> str:
    """Return the prefix in the letters that Home Assistant takes, still different for different prefixes."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", prefix)
    return plain if plain == prefix else f"{plain}_{zlib.crc32(prefix.encode()):08x}"
