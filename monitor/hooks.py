"""Webhooks and commands: each has an outbox of its own, so that one that is away holds up no other."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Protocol

from monitor.config import Config, HookConfig, WebhookConfig
from monitor.credentials import read_secret
from monitor.errors import SinkError
from monitor.metrics import Metrics
from monitor.outbox import Outbox
from monitor.pipeline import Outlet
from monitor.sinks.command import Command
from monitor.sinks.webhook import RefusedError, Webhook
from monitor.status import HookOutcome
from monitor.supervise import Backoff
from monitor.types import Event

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 4.0
_POLL_SECONDS = 5.0
_BACKOFF = Backoff(first_seconds=1.0, cap_seconds=300.0)


class Hook(Protocol):
    """Somebody to tell of an event."""

    name: str

    async def tell(self, event: Event) -> None:
        """Tell it; raises RefusedError, or SinkError where it may work later."""


class HookOutlet(Outlet):
    """Puts what a hook wants into its outbox, and tells it from there, one event after the other.

    A webhook is tried again until it takes the event; a command is run once, and its failure logged.
    """

    def __init__(
        self,
        label: str,
        config: HookConfig,
        hook: Hook,
        outbox: Outbox,
        metrics: Metrics,
        backoff: Backoff = _BACKOFF,
    ) -> None:
        self._label = label
        self._config = config
        self._hook = hook
        self._outbox = outbox
        self._metrics = metrics
        self._backoff = backoff
        self._retries = isinstance(config, WebhookConfig)
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._failing = False

    async def deliver(self, event: Event) -> None:
        """Keep it until the hook has it."""
        config = self._config
        if (config.events is None or event.name in config.events) and (
            config.sources is None or event.source in config.sources
        ):
            await self._outbox.put(event)
            self._empty.clear()
            self._news.set()

    @property
    def cut_short(self) -> list[Event]:
        """Ends that the process before this one died too early to tell, for this one to deliver."""
        return self._outbox.cut_short

    def observe(self) -> None:
        """Tell the metrics what waits and what was given up."""
        backlog = self._outbox.backlog
        self._metrics.hook_outbox(self._label, backlog.pending, backlog.unsaved, self._outbox.dropped)

    async def run(self) -> None:
        """Tell events for ever."""
        while True:
            self._news.clear()
            if waiting := await self._outbox.peek(1) if self._outbox.backlog.pending else []:
                (first,) = waiting
                if first.event.phase not in self._config.phases or await self._tell(first.event):
                    await self._outbox.ack([first.id])
                continue
            if not self._outbox.backlog.pending:
                self._empty.set()
            with suppress(TimeoutError):  # an outbox that couldn't be read is looked at again
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._news.wait()

    async def flush(self) -> None:
        """Wait until nothing waits."""
        if self._outbox.backlog.pending:
            await self._empty.wait()

    async def _tell(self, event: Event) -> bool:
        """Return whether that is done; else the outbox has to be looked at again."""
        waits = self._backoff.waits(self._rng)
        while True:
            try:
                await self._hook.tell(event)
            except SinkError as error:
                again = self._retries and not isinstance(error, RefusedError)
                self._metrics.hook(self._label, HookOutcome.FAILED if again else HookOutcome.GIVEN_UP)
                level = logging.DEBUG if self._failing and again else logging.WARNING
                _log.log(level, "%s: %s%s", self._label, error, "; trying again" if again else "")
                if not again:
                    return True
                self._failing = True
                await asyncio.sleep(next(waits))
                # It may have grown too old or too many meanwhile.
                still = await self._outbox.peek(1)
                if not still or still[0].event.id != event.id or still[0].event.phase != event.phase:
                    return False
            else:
                break
        if self._failing:
            _log.info("%s: works again", self._label)
            self._failing = False
        self._metrics.hook(self._label, HookOutcome.DELIVERED)
        return True


@asynccontextmanager
async def hook_outlets(
    config: Config, directory: Path, metrics: Metrics, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[list[HookOutlet]]:
    """Open an outlet for every webhook and command; raises SinkError, CredentialError."""
    async with AsyncExitStack() as stack:
        outlets = []
        for label, hook_config, hook in _hooks(config, environ, stack):
            outbox = await stack.enter_async_context(
                Outbox(
                    directory / f"outbox-{label.replace(' ', '-')}.db",
                    max_events=config.outbox.max_events,
                    max_age_seconds=config.outbox.max_age_days * 86_400.0,
                )
            )
            outlet = HookOutlet(label, hook_config, hook, outbox, metrics)
            outlets.append(outlet)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(outlet.run(), name="hook") for outlet in outlets]
        try:
            yield outlets
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await asyncio.gather(*(outlet.flush() for outlet in outlets))
            for task in tasks:
                task.cancel()


def _hooks(
    config: Config, environ: Mapping[str, str], stack: AsyncExitStack
) -> list[tuple[str, HookConfig, Hook]]:
    found: list[tuple[str, HookConfig, Hook]] = []
    for name, webhook in config.webhooks.items():
        token = read_secret(
            webhook.token_file, f"webhooks.{name}.token_file", f"webhook-{name}-token", environ
        )
        found.append((f"webhook {name}", webhook, Webhook(webhook, token)))
    for name, command in config.commands.items():
        found.append((f"command {name}", command, stack.enter_context(closing(Command(command)))))
    return found
