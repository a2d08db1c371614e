"""What of the page moves and what can be pressed, in a real browser."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio
from chromium import CHROMIUM
from page_kit import at_this_moment, soon
from scenes import HOUSE, event

from monitor.errors import MonitorError
from monitor.types import AudioBlock

pytestmark = [
    pytest.mark.real,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed"),
]
BRIGHTNESS = """(name, part) => {
    const canvas = document.querySelector(`.source[data-source=${name}] canvas`);
    const { width, height } = canvas;
    if (!canvas.clientWidth || width < canvas.clientWidth) return [];
    const picture = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const rows = Array.from({ length: height }, (_, y) => {
        const at = 4 * (y * width + Math.round(part * (width - 1)));
        return picture[at] + picture[at + 1] + picture[at + 2];
    });
    return rows;
}"""
"""The brightness of each row at a part of a spectrogram's width, from the top."""
NAMES = ("dog_bark", "smoke_alarm")


class Sound:
    """A tone that goes on for ever on some sources."""

    def __init__(self, shown, hz: float, *sources: str, began: float) -> None:
        self._shown, self._hz, self._sources, self._began = shown, hz, sources, began
        self._blocks = 0

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            at = self._blocks * 0.05
            samples = (0.1 * np.sin(2 * np.pi * self._hz * np.arange(2400) / 48_000)).astype(np.float32)
            for source in self._sources:
                self._shown.live.spectrograms.heard(
                    AudioBlock(source, self._blocks * 2400, 48_000, samples, self._began + at)
                )
            self._blocks += 1

    async def go_on(self) -> None:
        while True:
            self.play(0.25)
            await asyncio.sleep(0.25)


@pytest_asyncio.fixture(loop_scope="module")
async def sounding(shown):
    sound = asyncio.create_task(Sound(shown, 2000.0, "kitchen", "front_door", began=HOUSE.at).go_on())
    yield
    sound.cancel()
    await asyncio.wait([sound])


async def watched(shown, *names):
    await soon(lambda: shown.live.spectrograms.watched == set(names))


class TestSpectrogram:
    async def test_a_tone_is_a_line_that_scrolls_in_from_the_right(self, page, shown, sounding):
        await page.until(f"Math.min(...({BRIGHTNESS})('kitchen', 0.97)) < 250")  # light: loud is dark
        rows = await page.eval(f"({BRIGHTNESS})('kitchen', 0.97)")
        # 2 kHz is at 0.454 of the height in mels between 50 Hz and 14 kHz.
        assert 1 - np.argmin(rows) / len(rows) == pytest.approx(0.454, abs=0.04)
        assert (
            await page.eval("document.querySelector('[data-source=kitchen] .spectrogram-note').innerText")
            == ""
        )
        long_ago = await page.eval(f"({BRIGHTNESS})('kitchen', 0.02)")
        assert min(long_ago) > 650  # nothing was heard then
        name = await page.eval("document.querySelector('[data-source=kitchen] canvas').ariaLabel")
        assert name == "Spectrogram of Kitchen"

    async def test_a_source_without_sound_says_so(self, page):
        note = "document.querySelector('[data-source={}] .spectrogram-note').innerText"
        assert await page.eval(note.format("garage")) == "No sound"
        assert await page.eval(note.format("kitchen")) == "Waiting for sound…"

    async def test_only_what_is_in_sight_is_watched_and_nothing_while_it_is_paused(self, page, shown):
        await page.size(390, 500)
        await page.eval("document.querySelector('[data-source=garage]').scrollIntoView()")
        await page.until("scrollY > 500")
        await soon(lambda: "garage" in (now := shown.live.spectrograms.watched) and "kitchen" not in now)
        await page.size(1280, 3000)
        await page.eval("scrollTo(0, 0)")
        await watched(shown, "kitchen", "front_door", "workshop", "garage")
        await page.tab.get_by_role("button", name="Pause spectrograms").click()
        await watched(shown)
        assert await page.eval("document.getElementById('pause').ariaPressed") == "true"
        assert await page.eval("document.body.dataset.stream") == "live"
        await page.tab.get_by_role("button", name="Pause spectrograms").click()
        await watched(shown, "kitchen", "front_door", "workshop", "garage")

    async def test_an_event_is_marked_where_it_was_heard(self, page, shown, sounding):
        await page.until(f"Math.min(...({BRIGHTNESS})('kitchen', 0.97)) < 250")
        shown.now = replace(HOUSE, recent=(event(8, "kitchen", "dog_bark", 0.0, None, 0.8), *HOUSE.recent))
        signal = """(() => {
            const canvas = document.querySelector('[data-source=kitchen] canvas');
            const { width, height } = canvas;
            const [r, g, b] = canvas.getContext('2d').getImageData(width - 3, height - 2, 1, 1).data;
            return r > 160 && g < 90 && b < 60;
        })()"""
        await page.until(signal)

    async def test_labels_are_whole_at_the_edge_and_those_of_one_moment_stand_below_each_other(
        self, page, shown, sounding
    ):
        await page.until(f"Math.min(...({BRIGHTNESS})('front_door', 0.97)) < 250")
        both = [event(8 + n, "front_door", name, -3.0, None, 0.8) for n, name in enumerate(NAMES)]
        shown.now = replace(HOUSE, recent=(*both, *HOUSE.recent))
        # A line near the right edge, and lettering to the left of it in two rows.
        await page.until("""(() => {
            const canvas = document.querySelector('[data-source=front_door] canvas');
            const { width, height } = canvas;
            const picture = canvas.getContext('2d').getImageData(width - 60, 0, 60, height);
            const red = (x, y) => picture.data[4 * (60 * y + x)] - picture.data[4 * (60 * y + x) + 2] > 80;
            const line = [...Array(60).keys()].find((x) => red(x, height - 2));
            const cells = [...Array(18 * 60).keys()];
            const letters = (top) => cells.filter((at) => {
                const [x, y] = [at % 60, top + Math.floor(at / 60)];
                return x < line - 5 && red(x, y);
            }).length;
            return line > 30 && letters(5) > 30 && letters(25) > 30;
        })()""")


class TestTimeline:
    @pytest.fixture(autouse=True)
    def busy(self, shown):
        shown.now = at_this_moment(HOUSE)
        for number in range(40):
            name = NAMES[number % 2]
            bark = event(100 + number, "kitchen", name, 0.0, 5.0, 0.8)
            began = shown.now.at - 3600.0 - 1800.0 * number
            shown.live.day.add(replace(bark, started_at=began, ended_at=began + 5.0))

    async def test_each_sound_has_a_lane_with_its_count(self, page):
        await page.until("document.querySelectorAll('.lane').length === 5")
        lanes = await page.eval(
            "[...document.querySelectorAll('.lane')].map((each) => each.innerText.replaceAll('\\n', ' '))"
        )
        assert lanes == [
            "Dog bark Front door 2",
            "Smoke alarm Garage 1",
            "Dog bark Kitchen 20",
            "Glass breaking Kitchen 1",
            "Smoke alarm Kitchen 21",
        ]

    async def test_what_lasts_is_marked_at_the_end_of_the_day_in_another_colour(self, page):
        await page.until("document.querySelectorAll('.lane').length === 5")
        assert (await page.eval("document.getElementById('hours').innerText")).startswith("now")
        reds = await page.eval("""[...document.querySelectorAll('.lane-strip')].map((strip) => {
            const { width, height } = strip;
            const [red, , blue] = strip.getContext('2d').getImageData(width - 2, height / 2, 1, 1).data;
            return red - blue > 80;
        })""")
        assert reds == [False, False, False, False, True]

    async def test_a_lane_filters_the_events_and_again_shows_all(self, page):
        await page.until("document.querySelectorAll('.lane').length >= 4")
        rows = "[...document.querySelectorAll('#events tr')].map((row) => row.cells[1].innerText)"
        await page.tab.get_by_role("button", name="Dog bark Kitchen").click()
        await page.until(f"new Set({rows}).size === 1")
        assert set(await page.eval(rows)) == {"Dog bark"}
        await page.tab.get_by_role("button", name="Dog bark, Kitchen only: show all").click()
        await page.until(f"new Set({rows}).size > 1")

    async def test_more_are_shown_when_asked_for(self, page):
        await page.until("document.querySelectorAll('.lane').length >= 4")
        count = "document.querySelectorAll('#events tr').length"
        assert await page.eval(count) == 12
        await page.tab.get_by_role("button", name="Show more").click()
        assert await page.eval(count) == 36

    async def test_a_press_on_a_mark_brings_its_row(self, page, shown):
        await page.until("document.querySelectorAll('.lane').length >= 4")
        lane = page.tab.locator(".lane", has_text="Dog bark").filter(has_text="Kitchen")
        strip = lane.locator("canvas")
        box = await strip.bounding_box()
        assert box is not None
        oldest = 1.0 - (3600.0 + 1800.0 * 38) / 86_400.0
        await strip.click(position={"x": oldest * box["width"], "y": box["height"] / 2})
        chosen = "document.querySelector('#events tr[data-chosen=true]')"
        await page.until(chosen)
        assert "Dog bark" in await page.eval(f"{chosen}.innerText")
        assert await page.eval(f"{chosen} === document.activeElement")


class TestClips:
    async def test_a_clip_can_be_played_only_where_the_monitor_serves_them(self, page, shown):
        clip = "front_door/2026-11-22/082100Z_dog_bark_0006.flac"
        recent = (HOUSE.recent[0], replace(HOUSE.recent[1], clip=clip), *HOUSE.recent[2:])
        shown.now = replace(HOUSE, recent=(event(9, "kitchen", "dog_bark", 5.0, 2.0, 0.8), *recent))
        await page.until("document.querySelectorAll('#events tr').length === 6")
        assert await page.eval("document.querySelector('#events button')") is None

    async def test_the_player_comes_when_it_is_asked_for(self, browser, shown):
        clip = "front_door/2026-11-22/082100Z_dog_bark_0006.flac"
        recent = (HOUSE.recent[0], replace(HOUSE.recent[1], clip=clip), *HOUSE.recent[2:])
        shown.now = replace(HOUSE, recent=recent, clips_served=True)
        async with shown.serve() as server:
            await browser.open(server.url)
            play = browser.tab.get_by_role("button", name="Play Dog bark at")
            await play.wait_for()
            assert await browser.eval("document.querySelector('audio')") is None
            await play.click()
            assert (
                await browser.eval("document.querySelector('audio').getAttribute('src')") == f"clips/{clip}"
            )
            await browser.open("about:blank")


class TestSwitches:
    async def test_a_press_asks_the_monitor_and_its_answer_turns_the_switch(self, page, shown):
        bark = page.tab.get_by_role("switch", name="Listen for Dog bark on Kitchen")
        assert await bark.get_attribute("aria-checked") == "true"
        await bark.click()
        await soon(lambda: shown.switched)
        assert shown.switched == [("kitchen", "dog_bark", False)]
        assert await bark.get_attribute("aria-checked") == "true"  # until the monitor says so
        off = replace(HOUSE.activities[0], enabled=False)
        shown.now = replace(HOUSE, activities=(off, *HOUSE.activities[1:]))
        await page.until("document.querySelector('.event[data-on=false] .event-score')?.innerText === 'off'")
        assert await bark.get_attribute("aria-checked") == "false"
        await bark.press("Enter")
        await soon(lambda: len(shown.switched) == 2)
        assert shown.switched[1] == ("kitchen", "dog_bark", True)

    async def test_a_source_can_be_switched_off(self, page, shown):
        await page.tab.get_by_role("switch", name="Listen on Garage").click()
        await soon(lambda: shown.switched)
        assert shown.switched == [("garage", None, False)]
        shown.now = replace(HOUSE, sources=(*HOUSE.sources[:3], replace(HOUSE.sources[3], enabled=False)))
        await page.until(
            "document.querySelector('.source[data-state=off] .chip')?.innerText === 'Switched off'"
        )

    async def test_a_refusal_is_told(self, browser, shown):
        shown.live = replace(shown.live, enable=refuse)
        async with shown.serve() as server:
            await browser.open(server.url)
            await browser.until("document.body.dataset.stream === 'live'")
            await browser.tab.get_by_role("switch", name="Listen on Garage").click()
            await browser.until("document.getElementById('toast').innerText")
            told = await browser.eval("document.getElementById('toast').innerText")
            assert told == "Not switched: garage isn't listened for and can't be switched"
            await browser.open("about:blank")


async def refuse(source: str, event: str | None, on: bool) -> None:
    raise MonitorError(f"{source} isn't listened for and can't be switched")


class TestColours:
    async def test_the_choice_beats_the_system_and_is_remembered(self, page):
        paper = "getComputedStyle(document.body).backgroundColor"
        await page.prefer(prefers_color_scheme="light")
        light = await page.eval(paper)
        button = page.tab.locator("#theme")
        await button.click()
        await button.click()
        assert (await button.get_attribute("aria-label")).startswith("Colours: dark.")
        dark = await page.eval(paper)
        assert dark != light
        await page.tab.reload()
        await page.until("document.body.dataset.stream === 'live'")
        assert await page.eval(paper) == dark
        await page.tab.locator("#theme").click()
        assert await page.eval(paper) == light
        await page.prefer(prefers_color_scheme="dark")
        assert await page.eval(paper) == dark
        await page.prefer()
