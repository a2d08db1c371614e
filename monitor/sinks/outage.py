"""How attempts to reach the broker are paced, and what is told of them."""

from __future__ import annotations

import logging
import random
import time

from monitor.config import MqttConfig
from monitor.sinks.connection import RefusedError, broker_name

_log = logging.getLogger(__name__)

_SHORT_LIVED = 3


class Outage:
    """Paces attempts, with jitter; tells each new cause once, and the end.

    A connection counts as steady after ten times the first pause; one that broke sooner starts nothing anew.
    """

    def __init__(self, config: MqttConfig, first_seconds: float, longest_seconds: float) -> None:
        self._config = config
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._pause_seconds = first_seconds
        self._since: float | None = None
        self._connected_at: float | None = None
        self._short_lived = 0
        self._announced = False
        self._told: set[str] = set()
        self.cause: str | None = None

    def over(self) -> None:
        """Note that the connection is made."""
        self._connected_at = time.monotonic()
        again = "" if self._since is None else f", after {self._connected_at - self._since:.0f} s without"
        self._announced = self._short_lived < _SHORT_LIVED
        _log.log(
            logging.INFO if self._announced else logging.DEBUG,
            "connected to %s%s",
            *(broker_name(self._config), again),
        )
        self._since = None
        self.cause = None

    def failed(self, error: BaseException) -> float:
        """Note that an attempt failed or a connection broke; return the seconds to wait now."""
        now = time.monotonic()
        if self._connected_at is not None:
            self._note_loss(now - self._connected_at, refused=isinstance(error, RefusedError))
            self._connected_at = None
        if self._since is None:
            self._since = now
        self.cause = str(error)
        pause_seconds = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._pause_seconds = min(2.0 * self._pause_seconds, self._longest_seconds)
        _log.log(
            logging.WARNING if self._announced or self.cause not in self._told else logging.DEBUG,
            "%s (trying again, next in %.1f s)",
            *(self.cause, pause_seconds),
        )
        self._announced = False
        self._told.add(self.cause)
        return pause_seconds

    def _note_loss(self, lasted_seconds: float, *, refused: bool) -> None:
        if lasted_seconds >= 10.0 * self._first_seconds:
            self._pause_seconds = self._first_seconds
            self._short_lived = 0
            self._told.clear()
            return
        self._short_lived += 1
        if self._short_lived == _SHORT_LIVED and not refused:  # then it was us who closed it
            _log.warning(
                "%s: closes every connection soon; does another client use the client id %r?",
                *(broker_name(self._config), self._config.client_id),
            )
