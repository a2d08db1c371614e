"""Whether every command can be run and every webhook's address reached; nothing is sent there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

from monitor.check import no_program
from monitor.config import Config, WebhookConfig
from monitor.doctor.finding import Finding, failed, worked
from monitor.sinks.webhook import Webhook

_ANSWER_SECONDS = 5.0


async def look_at_hooks(config: Config) -> AsyncIterator[Finding]:
    """Look for every program, and open a connection to every address."""
    async with asyncio.TaskGroup() as group:
        looking = [group.create_task(_reach(name, each)) for name, each in config.webhooks.items()]
        for task in looking:
            yield await task
    for name, command in config.commands.items():
        problem = no_program(command)
        about = f"command {name}"
        yield failed(about, problem) if problem else worked(about, f"{command.run[0]} can be run")


async def _reach(name: str, webhook: WebhookConfig) -> Finding:
    about, address = f"webhook {name}", Webhook(webhook, None).name
    url = urlsplit(webhook.url)
    secure = url.scheme == "https"
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(
                url.hostname, url.port or (443 if secure else 80), ssl=secure or None
            )
    except (OSError, ValueError) as error:
        return failed(about, f"{address} can't be reached: {_cause(error)}")
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return worked(about, f"{address} can be reached{', and its certificate holds' if secure else ''}")


def _cause(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"{error.verify_message.rstrip('.')}; mend url, its certificate or this machine's authorities"
            )
        case ssl.SSLError():
            return "it doesn't speak TLS; correct the port in url, or write http://"
        case TimeoutError():
            return f"no answer within {_ANSWER_SECONDS:g} s; check url, the network and the firewall"
        case ConnectionRefusedError():
            return "nothing listens there; check url and that the receiver runs"
    return f"{getattr(error, 'strerror', None) or 'its name is none'}; check url and the network"
