"""What was heard in the last 24 hours, for the page's timeline."""

from __future__ import annotations

import time
from collections.abc import Callable

from monitor.types import Event

DAY_SECONDS = 86_400.0
OCCURRENCES_AT_MOST = 5_000
"""The oldest are forgotten beyond this; about 1.5 MB."""


class Day:
    """One entry an occurrence, its end in the place of its start; forgotten with the process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._occurrences: dict[str, Event] = {}

    def add(self, event: Event) -> None:
        """Take a start, or the end that takes its place."""
        self._occurrences[event.id] = event
        if len(self._occurrences) > OCCURRENCES_AT_MOST:
            del self._occurrences[next(iter(self._occurrences))]

    def occurrences(self) -> tuple[Event, ...]:
        """Return those that lasted into the last 24 hours, in the order of their beginning."""
        oldest = self._clock() - DAY_SECONDS
        for event in list(self._occurrences.values()):
            if event.ended_at is not None and event.ended_at < oldest:
                del self._occurrences[event.id]
        return tuple(self._occurrences.values())
