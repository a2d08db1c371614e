"""What the tests of webhooks and commands share: a configuration, events, and an outlet at work."""

from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from monitor.config import Config
from monitor.hooks import hook_outlets
from monitor.metrics import Metrics
from monitor.supervise import Backoff
from monitor.types import Event, Phase, Reason

AT_ONCE = Backoff(first_seconds=0.001, cap_seconds=0.001)


def config(**hooks):
    return Config.model_validate(
        {
            "sources": {"hall": {"type": "microphone"}, "attic": {"type": "microphone"}},
            "events": {"dog": "a dog barking", "cat": "a cat meowing"},
            **hooks,
        }
    )


def event(number, phase=Phase.START, name="dog", source="hall"):
    ended_at = 101.0 if phase is Phase.END else None
    return Event(f"id{number}", source, name, phase, 100.0, ended_at, 0.9, 0.5, Reason.THRESHOLD)


@asynccontextmanager
async def outlet(made, folder):
    """The one hook of a configuration, tried again at once, with its metrics."""
    registry = CollectorRegistry()
    async with hook_outlets(made, folder, Metrics(registry, made), {}) as (only,):
        only._backoff = AT_ONCE
        yield only, registry
