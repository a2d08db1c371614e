"""What an open page follows: the stream of states and spectrograms, and the last 24 hours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from monitor.status import Status, to_json
from monitor.web.asking import Ask
from monitor.web.control import Enable
from monitor.web.day import Day
from monitor.web.feed import Feed, Stream, wait
from monitor.web.spectrograms import Spectrograms

_log = logging.getLogger(__name__)

MAX_STREAMS = 128
"""Open pages; the rest of the connections stay for Prometheus and the health check."""
MAX_SPECTROGRAMS = 12
"""That one page watches."""
WRITE_SECONDS = 10.0
"""A page that takes nothing for so long is cut off."""


@dataclass(frozen=True, slots=True)
class Live:
    """What the daemon hands to the page beside its status."""

    spectrograms: Spectrograms = field(default_factory=Spectrograms)
    day: Day = field(default_factory=Day)
    enable: Enable | None = None
    """What the page's switches call."""
    ask: Ask | None = None
    """What the page's search calls."""


class LiveRoutes:
    """The handlers of what changes by the second."""

    def __init__(self, live: Live, status: Callable[[], Status]) -> None:
        self._live = live
        self._feed = Feed(status)
        self._streams = 0
        self.closing = asyncio.Event()
        """Set it to end every stream."""

    def add_to(self, app: web.Application) -> None:
        """Route `/events` and `/day.json`."""
        app.router.add_get("/events", self._serve_events, allow_head=False)
        app.router.add_get("/day.json", self._serve_day)

    async def _serve_day(self, _request: web.Request) -> web.Response:
        text = await asyncio.to_thread(to_json, self._live.day.occurrences())
        response = web.Response(text=text, content_type="application/json")
        response.enable_compression()
        return response

    async def _serve_events(self, request: web.Request) -> web.StreamResponse:
        if self._streams >= MAX_STREAMS:
            raise web.HTTPServiceUnavailable(
                text=f"{MAX_STREAMS} pages are open already; close one.\n", headers={hdrs.RETRY_AFTER: "30"}
            )
        self._streams += 1
        try:
            return await self._stream(request)
        finally:
            self._streams -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8"})
        watched = request.query.getall("spectrum", [])[:MAX_SPECTROGRAMS]
        with self._live.spectrograms.watch(watched) as watcher:
            stream = Stream(self._feed, watcher)
            try:
                await response.prepare(request)
                while not self.closing.is_set():
                    if message := await stream.next():
                        async with asyncio.timeout(WRITE_SECONDS):
                            await response.write(message)
                    await wait(self.closing, stream.interval_seconds)
            except ConnectionResetError:
                _log.debug("%s has closed the page", request.remote)
            except TimeoutError:
                _log.debug("%s takes nothing any more; cut off", request.remote)
                if request.transport is not None:
                    request.transport.abort()
        return response
