"""The page's search: words in, moments of the history out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from monitor.errors import MonitorError
from monitor.status import to_json

PATH = "/search.json"
_MOST_CHARACTERS = 200
_SECONDS = 86_400.0

Ask = Callable[[str, float], Awaitable[Mapping[str, object]]]
"""Finds what sounds like some words since a Unix time: `moments`, `hours`, `foreign`; raises MonitorError."""


class AskRoute:
    """`GET /search.json?words=a train passing`: the last 24 hours' best moments, one question at a time."""

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()

    def add_to(self, app: web.Application) -> None:
        """Route it."""
        app.router.add_get(PATH, self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        words = request.query.get("words", "").strip()
        if not any(letter.isalnum() for letter in words) or len(words) > _MOST_CHARACTERS:
            raise web.HTTPBadRequest(
                text=f"Say what it sounds like, in up to {_MOST_CHARACTERS} letters: ?words=a train passing\n"
            )
        if self._asking.locked():
            raise web.HTTPTooManyRequests(text="Another search is running; try again when it is done.\n")
        async with self._asking:
            try:
                found = await self._ask(words, self._clock() - _SECONDS)
            except MonitorError as error:
                raise web.HTTPConflict(text=f"{error}\n") from None
            text = await asyncio.to_thread(to_json, found)
        return web.Response(text=text, content_type="application/json")
