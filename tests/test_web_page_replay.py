"""The page before a real daemon that listens to recordings; the README's pictures are taken here."""

import asyncio
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from chromium import CHROMIUM, chromium
from daemon import daemon
from PIL import Image

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed"),
]
PICTURES = Path(__file__).resolve().parent.parent / "images"
TAKE_PICTURES = bool(os.environ.get("SOUND_MONITOR_PICTURES"))
"""Writes the README's pictures anew."""
MOST_PICTURE_BYTES = 400_000
RATE_HZ = 48_000

# Fold 4, which the built-in encoder has never heard.
SCENES = {
    "front_door": ("esc10/dog/4-184575-A.ogg", "esc50/door_wood_knock/4-182034-A-30.ogg"),
    "nursery": ("esc10/crying_baby/4-185575-A.ogg",),
    "street": ("esc50/siren/4-111671-A-42.ogg", "esc50/church_bells/4-125825-A-46.ogg"),
    "kitchen": ("esc50/clock_alarm/4-209536-A-37.ogg", "esc50/pouring_water/4-168868-A-17.ogg"),
}
EVENTS = {
    "dog_bark": {"prompts": ["a dog barking"], "sources": ["front_door"]},
    "knocking": {"prompts": ["knocking on a door"], "sources": ["front_door"]},
    "baby_cry": {"prompts": ["a baby crying"], "sources": ["nursery"]},
    "siren": {"prompts": ["a siren wailing"], "sources": ["street", "nursery"]},
    "church_bells": {"prompts": ["church bells ringing"], "sources": ["street"]},
    "alarm_clock": {"prompts": ["an alarm clock ringing"], "sources": ["kitchen", "nursery"]},
    "running_water": {"prompts": ["water running from a tap"], "sources": ["kitchen"]},
    "smoke_alarm": {"prompts": ["a smoke alarm beeping"], "min_on_seconds": 1.0},
}


def scene(path: Path, recordings: list[Path], seed: int) -> Path:
    """Write the recordings one after the other, between quiet pauses."""
    random = np.random.default_rng(seed)

    def quiet(seconds: float):
        return 0.002 * random.standard_normal(round(seconds * RATE_HZ)).cumsum() * 0.05

    parts = [quiet(1.0 + seed)]
    for recording in recordings:
        samples, rate_hz = soundfile.read(recording, dtype="float64", always_2d=True)
        sound = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
        parts += [0.7 * sound / max(1e-3, np.abs(sound).max()), quiet(3.0)]
    soundfile.write(path, np.concatenate(parts).clip(-1, 1), RATE_HZ)
    return path


@pytest.fixture
def house(shared, tmp_path):
    missing = [name for names in SCENES.values() for name in names if not (shared / "audio" / name).exists()]
    assert missing == []
    return {
        "sources": {
            source: {
                "type": "file",
                "path": str(scene(tmp_path / f"{source}.wav", [shared / "audio" / n for n in names], number)),
                "loop": True,
            }
            for number, (source, names) in enumerate(SCENES.items())
        },
        "events": EVENTS,
        "mqtt": None,
    }


def staged_day(now: float) -> str:
    """Events of the hours before, which no test can wait for: made up, for the pictures alone."""
    random = np.random.default_rng(11)
    usual = [
        ("front_door", "dog_bark", (7.5, 8.2, 12.4, 17.8, 18.3, 21.5), 4, 9.0),
        ("front_door", "knocking", (9.1, 13.2, 19.0), 2, 3.0),
        ("nursery", "baby_cry", (1.2, 3.8, 6.2, 13.5, 20.1), 3, 240.0),
        ("street", "siren", (4.1, 11.2, 15.6, 22.3), 2, 35.0),
        ("street", "church_bells", (8.0, 12.0, 18.0), 1, 180.0),
        ("kitchen", "alarm_clock", (6.5, 6.65), 1, 20.0),
        ("kitchen", "running_water", (6.8, 7.4, 12.2, 18.6, 19.4, 21.9), 4, 60.0),
    ]
    events = []
    for source, name, hours, times, lasts in usual:
        for hour in hours:
            for _ in range(int(random.integers(1, times + 1))):
                ago = ((now / 3600.0 - hour - random.normal(0.0, 0.15)) % 24.0) * 3600.0
                began = now - max(ago, 600.0)
                ended = began + lasts * random.uniform(0.4, 1.6)
                event = {"source": source, "name": name, "phase": "end", "reason": "threshold", "clip": None}
                event |= {"started_at": began, "ended_at": ended, "threshold": 0.5}
                events.append(
                    event | {"id": f"staged-{len(events)}", "peak_score": random.uniform(0.55, 0.98)}
                )
    return json.dumps(events)


async def take_picture(browser, name: str, width: int, height: int, scheme: str, scale: float) -> None:
    await browser.size(width, height, scale)
    await browser.prefer(prefers_color_scheme=scheme)
    await browser.until("document.querySelectorAll('.lane').length >= 6")
    await asyncio.sleep(2.0)  # a resized spectrogram is painted anew
    if width > 600:  # down to the end of the timeline
        bottom = "document.getElementById('timeline').getBoundingClientRect().bottom + scrollY"
        await browser.size(width, round(await browser.eval(bottom)) + 24, scale)
    picture = Image.open(io.BytesIO(await browser.screenshot(whole=False))).convert("RGB")
    if TAKE_PICTURES:
        PICTURES.mkdir(exist_ok=True)
        picture.save(PICTURES / f"{name}-{scheme}.webp", quality=82, method=6)


async def test_the_page_follows_recordings_that_a_real_daemon_hears(house, tmp_path):
    async with daemon(tmp_path, house) as running, chromium() as browser:
        url = await running.url()
        await running.logged("listening: 4 sources")
        if TAKE_PICTURES:
            day = staged_day((await running.status())["at"])
            await browser.tab.route("**/day.json", lambda route: route.fulfill(body=day))
        await browser.size(1280, 1400)
        await browser.open(url)
        await browser.until("document.querySelectorAll('.source[data-state=online]').length === 4")

        picture = "document.querySelector('[data-source=street] canvas').toDataURL()"
        await browser.until(
            "document.querySelector('[data-source=street] .spectrogram-note').innerText === ''"
        )
        before = await browser.eval(picture)
        await browser.until(f"{picture} !== {json.dumps(before)}")

        heard = "[...document.querySelectorAll('#events tr')].map((row) => row.cells[1].innerText)"
        for name in ("Dog bark", "Baby cry", "Siren", "Alarm clock"):
            await browser.until(f"{heard}.includes('{name}')", seconds=60)
        await browser.until("document.querySelector('.event[data-active=true]')", seconds=60)
        assert "began" in await browser.eval("document.getElementById('announcer').textContent")

        if TAKE_PICTURES:
            await asyncio.sleep(20.0)  # until the spectrograms are full
        for device, width, height, scale in (("desktop", 1280, 1180, 1.0), ("phone", 390, 844, 2.0)):
            for scheme in ("light", "dark"):
                await browser.until("document.querySelector('.event[data-active=true]')", seconds=60)
                await take_picture(browser, f"page-{device}", width, height, scheme, scale)
                assert await browser.violations() == []
        await browser.prefer()

        bark = browser.tab.get_by_role("switch", name="Listen for Dog bark on Front door")
        await bark.click()
        await browser.until(
            "document.querySelector('.event[data-on=false] .event-name')?.innerText === 'Dog bark'"
        )
        switched = {
            (each["source"], each["event"]): each["enabled"]
            for each in (await running.status())["activities"]
        }
        assert switched.pop(("front_door", "dog_bark")) is False
        assert all(switched.values())
        assert browser.complaints == []
        assert await running.stop() == 0
        await browser.until("document.body.dataset.stream === 'lost'")


def test_the_pictures_are_small():
    pictures = sorted(PICTURES.glob("*.webp"))
    assert {each.name for each in pictures} == {
        f"page-{device}-{scheme}.webp" for device in ("desktop", "phone") for scheme in ("light", "dark")
    }
    assert sum(each.stat().st_size for each in pictures) <= MOST_PICTURE_BYTES
