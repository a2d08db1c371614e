"""`sound-monitor tail`: what the broker receives from the monitor, as it comes."""

from __future__ import annotations

import json
import time

from monitor.config import Config
from monitor.errors import ConfigError
from monitor.sinks.mqtt import subscribe


async def tail(config: Config, *, as_json: bool) -> None:
    """Print every message below the prefix, retained ones first, until interrupted."""
    if config.mqtt is None:
        msg = "mqtt: null: there is no broker to ask; set mqtt.broker"
        raise ConfigError(msg)
    async for message in subscribe(config.mqtt, [f"{config.mqtt.prefix}/#"]):
        payload = message.payload.decode("utf-8", errors="backslashreplace")
        if as_json:
            line = json.dumps(
                {
                    "time": round(time.time(), 3),
                    "topic": message.topic,
                    "payload": _parsed(payload),
                    "retained": message.retained,
                },
                ensure_ascii=False,
            )
        else:
            mark = " (retained)" if message.retained else ""
            line = f"{time.strftime('%H:%M:%S')} {message.topic}{mark} {payload}"
        print(line, flush=True)  # noqa: T201


def _parsed(payload: str) -> object:
    try:
        return json.loads(payload)
    except ValueError:
        return payload
