"""Publishes events as a process of its own, to be killed by the tests."""

import asyncio
import os
from pathlib import Path

from monitor.config import MqttConfig
from monitor.outbox import Outbox
from monitor.sinks.mqtt import MqttSink
from monitor.types import Event, Phase, Reason


def main(port: str, path: str, prefix: str, count: str) -> None:
    """Publish `count` events, and tell of each when `publish` has returned."""
    asyncio.run(_publish(int(port), Path(path), prefix, int(count)))


async def _publish(port: int, path: Path, prefix: str, count: int) -> None:
    config = MqttConfig(broker="127.0.0.1", port=port)
    async with Outbox(path) as outbox, asyncio.TaskGroup() as group:
        sink = MqttSink(config, outbox, retry_seconds=(0.05, 0.2))
        group.create_task(sink.run())
        sink.set_state("hall", "dog_bark", on=False)
        for number in range(count):
            name = f"{prefix}-{number}"
            event = Event(name, "hall", "dog_bark", Phase.START, 1.0, None, 0.9, 0.5, Reason.THRESHOLD)
            await sink.publish(event)
            os.write(1, f"{name}\n".encode())
            await asyncio.sleep(0.001)
        await sink.stop(30.0)
