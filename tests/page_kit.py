"""The page in a real browser, before a status that a test can change."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest_asyncio
from chromium import chromium
from prometheus_client import CollectorRegistry
from scenes import HOUSE

from monitor.config import HttpConfig
from monitor.errors import MonitorError
from monitor.past.search import Moment
from monitor.status import Status
from monitor.web import Live, serve


class Shown:
    """What the page follows."""

    def __init__(self) -> None:
        self.now: Status = HOUSE
        self.switched: list[tuple[str, str | None, bool]] = []
        self.sought: list[str] = []
        self.live = Live(enable=self.enable, ask=self.ask)

    async def enable(self, source: str, event: str | None, on: bool) -> None:
        self.switched.append((source, event, on))

    async def ask(self, words: str, since: float) -> dict[str, object]:
        self.sought.append(words)
        if words == "nothing":
            raise MonitorError("the history can't be read")
        at = self.now.at - 600.0
        moments = (
            Moment("kitchen", at, at + 4.0, at + 2.0, 0.83, -40.0, ("dog_bark",)),
            Moment("garage", at + 60.0, at + 62.0, at + 62.0, 0.61, -50.0),
        )
        return {"moments": moments, "hours": 23.5, "foreign": {"clap": 1.25}}

    def serve(self, port: int = 0):
        return serve(
            HttpConfig(port=port), CollectorRegistry(), lambda: self.now, lambda: (True, ""), self.live
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with chromium() as page:
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def shown():
    return Shown()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, shown):
    browser.complaints.clear()
    async with shown.serve() as server:
        await browser.size(1280, 900)
        await browser.open(server.url)
        await browser.until("document.body.dataset.stream === 'live' && document.querySelector('#events tr')")
        yield browser
        assert not browser.complaints, browser.complaints
    await browser.open("about:blank")


def at_this_moment(status: Status) -> Status:
    """The same, as if it were taken now."""
    later = time.time() - status.at

    def moved(value, *names):
        given = {name: getattr(value, name) for name in names}
        return replace(value, **{name: None if at is None else at + later for name, at in given.items()})

    return replace(
        moved(status, "at", "started_at"),
        sources=tuple(moved(each, "last_audio_at", "last_score_at") for each in status.sources),
        activities=tuple(moved(each, "since") for each in status.activities),
        recent=tuple(moved(each, "started_at", "ended_at") for each in status.recent),
        reload=moved(status.reload, "at"),
    )


async def soon(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something that only the browser can bring about is so."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)
