"""The page in a real browser, at any width, in all colours, by keys: nothing is cut off or unreachable."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import CHROMIUM
from scenes import HOUSE, event

from monitor.status import ReloadStatus

pytestmark = [
    pytest.mark.real,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed"),
]
SCREENSHOTS = os.environ.get("SOUND_MONITOR_SCREENSHOTS")
"""A folder to keep the screenshots in, for looking at."""


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2560])
async def test_nothing_sticks_out_at_any_width(page, shown, width):
    long = "a_name_as_long_as_may_be_".ljust(64, "x")
    shown.now = replace(
        HOUSE,
        sources=(replace(HOUSE.sources[0], name=long, problem=long), *HOUSE.sources[1:]),
        events=(replace(HOUSE.events[0], name=long), *HOUSE.events[1:]),
        activities=(replace(HOUSE.activities[1], source=long, event=long), *HOUSE.activities[2:]),
        reload=ReloadStatus(False, HOUSE.at, f"{long}:1: events.{long}: unknown"),
        recent=(event(8, long, long, 1.5, None, 0.8), *HOUSE.recent),
    )
    await page.until("document.querySelector('.source .event')?.innerText.includes('xxxx')")
    await page.size(width, 800)
    await page.until(f"innerWidth === {width}", seconds=5.0)  # a phone zooms out of what is too wide
    assert await page.eval("document.documentElement.scrollWidth") == width
    cut = await page.eval(
        "[...document.querySelectorAll('h1, h2, h3, p:not(.sr-only *), .event span, td, dt, dd')]"
        ".filter((each) => getComputedStyle(each).display !== 'inline')"
        ".filter((each) => each.scrollWidth > each.clientWidth + 1)"
        ".map((each) => each.innerText)"
    )
    assert cut == []


async def test_the_keyboard_reaches_everything_there_is_to_use(page):
    usable = await page.eval(
        "[...document.querySelectorAll('a, button, audio, [tabindex=\"0\"]')]"
        ".filter((each) => each.checkVisibility()).length"
    )
    reached = []
    for _ in range(usable):
        await page.tab.keyboard.press("Tab")
        name = "document.activeElement.ariaLabel ?? document.activeElement.innerText.replace('\\n', ' ')"
        reached.append(await page.eval(name))
        assert await page.eval("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached[:4] == [
        "Skip to the sources",
        "Colours: as the system has it. Change to light",
        "Pause spectrograms",
        "Listen on Kitchen",
    ]
    assert "Listen for Smoke alarm on Kitchen" in reached
    assert "Dog bark Front door" in reached
    assert reached[-1] == "Health"


async def test_reduced_motion_is_respected(page):
    duration = "getComputedStyle(document.querySelector('.score-smooth')).transitionDuration"
    assert await page.eval(duration) == "0.4s"
    await page.prefer(prefers_reduced_motion="reduce")
    assert await page.eval(duration) == "0s"
    await page.prefer()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width"), [("desktop", 1280), ("phone", 390)])
async def test_text_can_be_read_in_light_and_dark(page, scheme, device, width):
    await page.size(width, 850, 2.0 if device == "phone" else 1.0)
    await page.prefer(prefers_color_scheme=scheme)
    assert await page.eval("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    poor = await page.eval(POOR_CONTRAST)
    assert poor == []
    assert await page.violations() == []
    picture = await page.screenshot()
    assert picture.startswith(b"\x89PNG")
    if SCREENSHOTS:
        await asyncio.to_thread(Path(SCREENSHOTS, f"page-{device}-{scheme}.png").write_bytes, picture)
    await page.prefer()


POOR_CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb
    .map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const poor = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const text = words.currentNode.textContent.trim();
    const node = words.currentNode.parentElement;
    if (!text || !node.checkVisibility() || node.closest("template, noscript, .skip, .sr-only")) continue;
    const grounds = [];
    for (let each = node; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      grounds.unshift(style.backgroundColor);
      if (style.opacity !== "1") poor.push([text, "opacity", style.opacity]);
    }
    const ground = paint(grounds);
    const ink = paint([...grounds, getComputedStyle(node).color]);
    const [dark, bright] = [light(ground), light(ink)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < 4.5) poor.push([text, ratio.toFixed(2)]);
  }
  return poor;
})()
"""
"""Texts whose contrast is below WCAG's AA for body text, with their ratio."""
