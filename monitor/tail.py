"""`sound-monitor tail`: what the broker receives from the monitor, as it comes."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from monitor.config import Config
from monitor.directories import embedded_port, state_directory
from monitor.errors import ConfigError
from monitor.redact import one_line
from monitor.sinks.connection import Message, broker_name
from monitor.sinks.mqtt import subscribe

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5.0


async def tail(config: Config, *, as_json: bool) -> None:
    """Print every message below the prefix, retained ones first, until interrupted."""
    if config.mqtt is None:
        msg = "mqtt: null: there is no broker to ask; set mqtt.broker"
        raise ConfigError(msg)
    mqtt = config.mqtt
    if mqtt.broker == "embedded" and (port := embedded_port(state_directory(config))):
        mqtt = mqtt.model_copy(update={"port": port})
    settled = asyncio.Event()
    topics = f"{mqtt.prefix}/#"

    def wonder() -> None:
        if not settled.is_set():
            _log.warning(
                "%s: nothing of this monitor is there (%s); check that `sound-monitor run` runs and which "
                "broker its log names: mqtt.broker, mqtt.port and mqtt.prefix have to say the same",
                *(broker_name(mqtt), topics),
            )
            settled.set()

    def subscribed() -> None:
        asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, wonder)

    async for message in subscribe(mqtt, [topics], subscribed=subscribed):
        settled.set()
        print(line_of(message, as_json=as_json), flush=True)  # noqa: T201


def line_of(message: Message, *, as_json: bool) -> str:
    """Write a message in one line; anybody may have sent it, so nothing in it reaches the terminal as is."""
    payload = message.payload.decode("utf-8", errors="backslashreplace")
    if as_json:
        fields = {
            "time": round(time.time(), 3),
            "topic": message.topic,
            "payload": _parsed(payload),
            "retained": message.retained,
        }
        return json.dumps(fields)
    mark = " (retained)" if message.retained else ""
    return one_line(f"{time.strftime('%H:%M:%S')} {message.topic}{mark} {payload}")


def _parsed(payload: str) -> object:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload
