"""What a page may change: the switches. Only a page of this server's own can ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from monitor.errors import MonitorError

PATH = "/switch"
BODY_AT_MOST = 1024
_BODY_SECONDS = 5.0

Enable = Callable[[str, str | None, bool], Awaitable[None]]
"""Switches the detection of an event on a source, or of all of them, on or off; raises MonitorError."""


class SwitchRoute:
    """`POST /switch` with `{"source": ..., "event": ... or null, "on": true or false}`."""

    def __init__(self, enable: Enable) -> None:
        self._enable = enable

    def add_to(self, app: web.Application) -> None:
        """Route it."""
        app.router.add_post(PATH, self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        _refuse_other_sites(request)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                source, event, on = _asked(await request.json())
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="The request's body didn't come.\n") from None
        except (ValueError, LookupError, RecursionError) as error:
            # It may quote bytes of a header that are no UTF-8.
            text = f"{error}\n".encode(errors="backslashreplace").decode()
            raise web.HTTPBadRequest(text=text) from None
        try:
            await self._enable(source, event, on)
        except MonitorError as error:
            raise web.HTTPConflict(text=f"{error}\n") from None
        return web.Response(status=204)


def _refuse_other_sites(request: web.Request) -> None:
    """Other sites' pages can send a form here, but neither this content type nor our own origin.

    Programs that aren't browsers send no origin; they have no cookie that could be misused either.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Send application/json.\n")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and urlsplit(origin).netloc != request.headers.get(hdrs.HOST):
        raise web.HTTPForbidden(text="Requests from other sites' pages are refused.\n")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise web.HTTPForbidden(text="Requests from other sites' pages are refused.\n")


def _asked(body: object) -> tuple[str, str | None, bool]:
    match body:
        case {"source": str(source), "event": str() | None as event, "on": bool(on), **more} if not more:
            f"{source}{event}".encode()  # JSON can have half a surrogate pair, which no answer can quote
            return source, event, on
    raise ValueError(f"is not {json.dumps({'source': 'kitchen', 'event': 'dog_bark', 'on': True})}")
