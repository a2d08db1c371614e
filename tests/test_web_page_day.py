"""The page before a stream of the test's own: left open for a day and more, and told things once more."""

import base64
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from chromium import CHROMIUM, chromium
from scenes import HOUSE, NOW, event

from monitor.status import to_json
from monitor.types import Event, Phase

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed"),
]
HOURS = 26
"""Long enough for the first events to be a day old, and forgotten."""
STEP_MINUTES = 30
MEASURED_HOURS = 2
STREAM_OF_THE_TEST = """
window.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    window.followed = this;
  }
  close() {}
};
window.tell = (messages) => {
  for (const [kind, data] of messages) window.followed.dispatchEvent(new MessageEvent(kind, { data }));
};
"""


class Day:
    """What the daemon would say of every half hour: some status, some sound, fifteen events."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(7)
        self._events: list[Event] = []

    def messages(self, minute: int) -> list[tuple[str, str]]:
        now = NOW + 60.0 * minute
        for each in range(minute - STEP_MINUTES + 1, minute + 1):
            self._begin_or_end(each, NOW + 60.0 * each)
        status = replace(
            HOUSE,
            at=now,
            sources=tuple(replace(each, last_audio_at=now, last_score_at=now) for each in HOUSE.sources),
            activities=tuple(
                replace(
                    each, smooth=float(value), active=bool(value > 0.6), since=now if value > 0.6 else None
                )
                for each, value in zip(
                    HOUSE.activities, self._random.random(len(HOUSE.activities)), strict=True
                )
            ),
            recent=(),
        )
        told = [("recent", to_json(tuple(self._events[:100]))), ("status", to_json(status))]
        for source in ("kitchen", "front_door"):
            for part in range(10):
                levels = self._random.integers(0, 255, (5, 64), dtype=np.uint8)
                first = round((now + part * 0.25) / 0.05)
                told.append(("columns", columns(source, first, levels)))
        return [*told, ("status", to_json(replace(status, at=now + 30.0)))]

    def _begin_or_end(self, minute: int, now: float) -> None:
        if minute % 2 == 0:
            source, name = [(each.source, each.event) for each in HOUSE.activities][minute // 2 % 6]
            began = replace(event(1000 + minute, source, name, 0.0, None, 0.8), started_at=now)
            self._events.insert(0, began)
        elif self._events:
            ended = replace(self._events[0], phase=Phase.END, ended_at=now, peak_score=0.9)
            self._events.insert(0, ended)
        del self._events[100:]


def columns(source: str, first: int, levels) -> str:
    data = base64.b64encode(levels.tobytes()).decode()
    return json.dumps({"source": source, "first": first, "bands": 64, "seconds": 0.05, "data": data})


async def test_after_a_day_and_more_the_page_still_follows_and_has_not_grown(shown):
    settings = {
        name: value for name, value in asdict(HOUSE).items() if name in ("windows", "events", "stored")
    }
    day = Day()
    async with shown.serve() as server, chromium() as browser:
        await browser.size(1280, 1200)
        await browser.tab.clock.install(time=datetime.fromtimestamp(NOW, UTC))
        await browser.tab.add_init_script(STREAM_OF_THE_TEST)
        await browser.open(server.url)
        await browser.tab.evaluate("tell", [("settings", json.dumps(settings))])
        measured: list[dict[str, float]] = []
        for minute in range(STEP_MINUTES, 60 * HOURS + 1, STEP_MINUTES):
            await browser.tab.clock.set_system_time(datetime.fromtimestamp(NOW + 60 * minute, UTC))
            await browser.tab.evaluate("tell", day.messages(minute))
            await browser.tab.clock.run_for(1_000)
            if minute % (60 * MEASURED_HOURS) == 0:
                measured.append(await browser.memory())
                assert await browser.eval("document.body.dataset.stream") == "live"
                await browser.tab.clock.fast_forward(10_000)  # the connection is lost, and made again
                assert await browser.eval("document.body.dataset.stream") == "lost"
                await browser.tab.clock.run_for(1_000)
        assert browser.complaints == []
        rows = await browser.eval("[...document.querySelectorAll('#events tr')].map((row) => row.innerText)")
        assert len(rows) == 12
        assert "still on" in rows[0]
        heard = await browser.eval("document.getElementById('day-summary').innerText")
        assert heard == "721 events, 6 sounds"  # one every two minutes of the last 24 hours
        running = await browser.eval("document.getElementById('facts').innerText")
        assert "4 days 14 h" in running
    assert len(measured) == HOURS // MEASURED_HOURS
    early, late = measured[0], measured[-1]
    assert late["Nodes"] <= 1.05 * early["Nodes"]
    assert late["JSEventListeners"] <= 1.05 * early["JSEventListeners"]
    assert late["JSHeapUsedSize"] <= early["JSHeapUsedSize"] + 2_000_000


async def test_a_stream_that_is_opened_anew_leaves_the_picture_as_it_was(shown):
    loud = np.full((5, 64), 255, np.uint8)
    first = round(NOW / 0.05)

    def sound(begin, end):  # in seconds
        return [("columns", columns("kitchen", first + at, loud)) for at in range(begin * 20, end * 20, 5)]

    blank = """(() => {
        const canvas = document.querySelector('[data-source=kitchen] canvas');
        const { width, height } = canvas;
        const row = canvas.getContext('2d').getImageData(0, height - 10, width, 1).data;
        return [...Array(width).keys()].filter((x) => row[4 * x] > 200).length / width;
    })()"""
    async with shown.serve() as server, chromium() as browser:
        await browser.size(1280, 1200)
        await browser.tab.add_init_script(STREAM_OF_THE_TEST)
        await browser.open(server.url)
        await browser.tab.evaluate("tell", [("status", to_json(HOUSE)), *sound(0, 60)])
        await browser.until(f"{blank} < 0.02")
        await browser.tab.evaluate("tell", sound(54, 61))
        painted = "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"
        await browser.eval(painted)
        assert await browser.eval(blank) < 0.02
        # A clock that is set back is no such stream: what was painted isn't of that time.
        await browser.tab.evaluate("tell", sound(20, 21))
        await browser.until(f"{blank} > 0.8")
