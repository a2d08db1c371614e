"""What the tests of `sound-monitor check` share: a small configuration, and what it is warned of."""

from __future__ import annotations

from pathlib import Path

from monitor.check import report
from monitor.config import Config

DOG = {"dog": "a dog barking"}


def configure(events=None, sources=None, **sections):
    return Config.model_validate(
        {"sources": sources or {"room": {}}, "events": events or DOG, "mqtt": None, **sections}
    )


def warnings(config, path=Path("home.yaml")):
    return report(config, path)[1]
