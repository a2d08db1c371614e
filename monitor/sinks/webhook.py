"""One event to one address: POST as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from monitor import __version__
from monitor.config import WebhookConfig
from monitor.errors import SinkError
from monitor.sinks.messages import event_payload
from monitor.types import Event

_REFUSED = frozenset({400, 413, 415, 422})
"""The receiver says that this message is wrong: it will be wrong the next time, too."""


class RefusedError(SinkError):
    """The receiver doesn't want this event, now or ever."""


class Webhook:
    """Posts events; redirects aren't followed, for the token mustn't go elsewhere."""

    def __init__(self, config: WebhookConfig, token: str | None) -> None:
        self._config = config
        parts = urlsplit(config.url)
        self.name = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._headers: Mapping[str, str] = {
            **config.headers,
            **({"Authorization": f"Bearer {token}"} if token else {}),
            "Content-Type": "application/json",
            "User-Agent": f"sound-monitor/{__version__}",
        }

    async def tell(self, event: Event) -> None:
        """Post an event; raises RefusedError, or SinkError where it may work later."""
        config = self._config
        headers = {**self._headers, "Idempotency-Key": f"{event.id}-{event.phase}"}
        timeout = aiohttp.ClientTimeout(total=config.timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    config.url, data=event_payload(event), headers=headers, allow_redirects=False
                ) as answer,
            ):
                status, reason = answer.status, answer.reason or ""
        except TimeoutError:
            says = (
                f"{self.name} doesn't answer within {config.timeout_seconds:g} s; check url and the network"
            )
            raise SinkError(says) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SinkError(
                f"{self.name} can't be reached: {_cause(error)}; check url and the network"
            ) from None
        if status in _REFUSED:
            raise RefusedError(f"{self.name} refuses the event: {status} {reason}")
        if not 200 <= status < 300:
            raise SinkError(f"{self.name} answers {status} {reason}; check url and token")
        # Let the connection's transport close before the next; aiohttp does so in the loop's next turn.
        await asyncio.sleep(0)


def _cause(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return getattr(cause, "strerror", None) or type(cause).__name__
