"""Trying again, patiently: jittered, capped backoff, and a log that doesn't repeat itself."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first_seconds` to `cap_seconds`, each times a random 0.5..1."""

    first_seconds: float = 0.5
    cap_seconds: float = 30.0

    def waits(self, rng: random.Random) -> Iterator[float]:
        """Yield the seconds to wait, for ever."""
        wait = self.first_seconds
        while True:
            yield wait * rng.uniform(0.5, 1.0)
            wait = min(2.0 * wait, self.cap_seconds)


class Supervisor:
    """Runs one thing again and again until it returns; only `errors` are retried, all else passes through."""

    def __init__(
        self,
        name: str,
        errors: tuple[type[Exception], ...],
        backoff: Backoff = Backoff(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._name = name
        self._errors = errors
        self._backoff = backoff
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._waits = backoff.waits(self._rng)
        self._failing = False

    def succeeded(self) -> None:
        """Tell that the thing works now: the next failure starts with the shortest wait."""
        if self._failing:
            _log.info("%s: works again", self._name)
        self._failing = False
        self._waits = self._backoff.waits(self._rng)

    async def run(
        self, attempt: Callable[[], Awaitable[None]], failed: Callable[[Exception], Awaitable[None]]
    ) -> None:
        """Await `attempt` until it returns; after a failure await `failed`, then a pause, then try again."""
        while True:
            try:
                await attempt()
            except self._errors as error:
                await failed(error)
                wait = next(self._waits)
                level = logging.DEBUG if self._failing else logging.WARNING
                _log.log(level, "%s: %s (trying again, next in %.1f s)", self._name, error, wait)
                self._failing = True
                await self._sleep(wait)
            else:
                return
