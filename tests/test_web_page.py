"""The page in a real browser: what it shows, how it follows, and what it says when it can't."""

import asyncio
import json
from dataclasses import replace

import pytest
from chromium import CHROMIUM
from scenes import HOUSE, event

from monitor.status import OutboxStatus, ReloadStatus
from monitor.types import Phase, Reason

pytestmark = [
    pytest.mark.real,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed"),
]


def text_of(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})?.innerText"


async def test_sources_are_shown_with_their_state_and_problem(page):
    cards = await page.eval("[...document.querySelectorAll('.source')].map((each) => each.innerText)")
    assert [card.splitlines()[0] for card in cards] == ["Kitchen", "Front door", "Workshop", "Garage"]
    kitchen, _, workshop, garage = cards
    assert "Online" in kitchen
    assert "\N{MINUS SIGN}31 dBFS" in kitchen
    assert "604,713 windows · 12 dropped · 2 overflows · reopened once" in kitchen.replace("\n", " ")
    assert "Problem" in workshop
    assert "exact zeros for 42 s" in workshop
    assert "silence" in workshop
    assert "Offline" in garage
    assert "no sound" in garage
    assert "sound 2 h 1 min ago" in garage


async def test_scores_stand_against_their_marks(page):
    active = "document.querySelector('.event[data-active=true]')"
    assert await page.eval(f"{active}.innerText.split('\\n').filter(Boolean)") == [
        "Smoke alarm",
        "12 s",
        "0.91",
    ]
    box = """(selector) => {
        const event = document.querySelector('.event[data-active=true]');
        const track = event.querySelector('.score-track').getBoundingClientRect();
        const part = event.querySelector(selector).getBoundingClientRect();
        return [(part.left - track.left) / track.width, (part.right - track.left) / track.width];
    }"""
    await page.until(f"Math.abs(({box})('.score-smooth')[1] - 0.91) < 0.005")
    await page.until(f"Math.abs(({box})('.score-raw')[1] - 0.97) < 0.005")
    for part, place in ((".mark-on", 0.6), (".mark-off", 0.42)):
        left, right = await page.eval(f"({box})('{part}')")
        assert (left + right) / 2 == pytest.approx(place, abs=0.005)


async def test_scores_can_be_heard_instead_of_seen(page):
    meters = await page.eval(
        "[...document.querySelectorAll('.source:first-child [role=meter]')].map((each) =>"
        " [each.ariaLabel, each.ariaValueText, each.ariaValueMin, each.ariaValueNow, each.ariaValueMax])"
    )
    assert meters[0] == ["Level", "-31 dBFS", "-80", "-31.4", "0"]
    assert meters[2] == [
        "Smoke alarm, score",
        "0.91, active, begins at 0.60, ends below 0.42",
        "0",
        "0.91",
        "1",
    ]


async def test_an_event_by_level_is_told_in_decibels(page, shown):
    bang = replace(HOUSE.events[2], is_level=True)  # a bound of 0.7
    shown.now = replace(HOUSE, events=(*HOUSE.events[:2], bang))
    meter = "document.querySelector('[data-source=kitchen] [aria-label=\"Glass breaking, score\"]')"
    await page.until(f"{meter}.getAttribute('aria-valuetext').includes('begins at \N{MINUS SIGN}30 dBFS')")
    shown_score = f"{meter}.closest('.event').querySelector('.event-score').innerText"
    assert await page.eval(shown_score) == "\N{MINUS SIGN}98 dBFS"
    peak = "td[data-column=peak]"
    glass = "[...document.querySelectorAll('#events tr')].find((row) => row.innerText.includes('Glass'))"
    await page.until(f"{glass}.querySelector('{peak}').innerText === '\N{MINUS SIGN}17 dBFS'")


async def test_the_last_events_are_one_row_each(page, shown):
    rows = "[...document.querySelectorAll('#events tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    first, second, *_, last = await page.eval(rows)
    assert first[1:] == ["Smoke alarm", "Kitchen", "", "0.93", "still on"]
    assert second[1:] == ["Dog bark", "Front door", "14 s", "0.88", "fell silent"]
    assert last[1:] == ["Glass breaking", "Kitchen", "1.5 s", "0.83", "fell silent"]  # the older is a day old
    started = shown.now.recent[0]
    ended = replace(
        started,
        phase=Phase.END,
        ended_at=started.started_at + 15.0,
        peak_score=0.95,
        reason=Reason.MAX_DURATION,
    )
    shown.now = replace(shown.now, recent=(ended, *shown.now.recent))
    await page.until("document.querySelector('#events tr').innerText.includes('longest duration')")
    assert (await page.eval(rows))[0][1:] == ["Smoke alarm", "Kitchen", "15 s", "0.95", "longest duration"]
    assert len(await page.eval(rows)) == 5


async def test_without_events_it_says_so(browser, shown):
    shown.now = replace(HOUSE, recent=())
    async with shown.serve() as server:
        await browser.open(server.url)
        await browser.until("document.body.dataset.stream === 'live'")
        await browser.until("!document.getElementById('events-empty').hidden")
        assert await browser.eval("document.getElementById('timeline').hidden")
        shown.now = HOUSE
        await browser.until("document.getElementById('events-empty').hidden")
        assert not await browser.eval("document.getElementById('timeline').hidden")
        await browser.open("about:blank")


async def test_what_the_settings_mean_is_said_in_seconds_and_once(page, shown):
    rules = await page.eval(text_of("#rules"))
    for line in (line for rule in HOUSE.events for line in rule.meaning):
        assert line[0].upper() + line[1:] in rules.splitlines()
    assert "told within" in rules
    assert "Dog bark" in rules.splitlines()
    alike = replace(HOUSE.events[1], meaning=HOUSE.events[0].meaning)
    shown.now = replace(HOUSE, events=(HOUSE.events[0], alike, HOUSE.events[2]))
    await page.until(f"{text_of('#rules')}.startsWith('Dog bark · Smoke alarm\\n')")
    assert (await page.eval(text_of("#rules"))).count("Smoke alarm") == 1
    assert await page.eval(text_of("#windows")) == HOUSE.windows.replace(" -", " \N{MINUS SIGN}")


async def test_what_is_kept_of_the_sound_is_said(page, shown):
    kept = await page.eval("[...document.querySelectorAll('#stored li')].map((each) => each.innerText)")
    assert kept == [line[0].upper() + line[1:] for line in HOUSE.stored]
    assert kept[0] == "Sound is scored and forgotten; none of it is stored"


async def test_the_system_is_described(page, shown):
    facts = await page.eval(text_of("#facts"))
    for fact in ("compact, float32 on cpu", "connected", "nothing", "3 days 12 h", "0.1.0"):
        assert fact in facts
    shown.now = replace(
        HOUSE,
        mqtt_connected=False,
        outbox=OutboxStatus(3, HOUSE.at - 700.0),
        reload=ReloadStatus(False, HOUSE.at, "config.yaml:3: events: missing"),
    )
    await page.until(f"{text_of('#facts')}.includes('not connected, trying again')")
    facts = await page.eval(text_of("#facts"))
    assert "3 events, oldest 11 min 40 s ago" in facts
    assert "the old ones hold: config.yaml:3: events: missing" in facts
    shown.now = replace(HOUSE, mqtt_connected=None, encoder=None)
    await page.until(f"{text_of('#facts')}.includes('turned off')")
    assert await page.eval(text_of("#verdict")) == "Loading the model…"


async def test_an_event_that_begins_is_shown_titled_and_announced_once(page, shown):
    resting = tuple(replace(each, active=False, since=None) for each in HOUSE.activities)
    quiet = replace(HOUSE, activities=resting)
    shown.now = quiet
    await page.until("document.title === 'Sound Monitor'")
    assert await page.eval(text_of("#verdict")) == "2 sources need a look"
    assert await page.eval(text_of("#announcer")) == ""
    bark = replace(HOUSE.activities[3], smooth=0.8, active=True, since=HOUSE.at - 1.5)
    shown.now = replace(
        quiet,
        activities=(*resting[:3], bark, *resting[4:]),
        recent=(event(8, "front_door", "dog_bark", 1.5, None, 0.8), *HOUSE.recent),
    )
    await page.until("document.title === '● Dog bark · Sound Monitor'")
    assert await page.eval(text_of("#verdict")) == "Dog bark"
    assert await page.eval(text_of(".event[data-active=true] .event-since")) == "1.5 s"
    assert await page.eval("document.getElementById('announcer').textContent") == "Dog bark began, Front door"
    assert await page.eval("document.getElementById('announcer').ariaLive") == "polite"


@pytest.mark.parametrize(
    ("active", "verdict"),
    [
        ({("kitchen", "dog_bark"), ("front_door", "dog_bark")}, "Dog bark"),
        ({("kitchen", "dog_bark"), ("front_door", "smoke_alarm")}, "Dog bark and Smoke alarm"),
        ({("kitchen", name) for name in ("dog_bark", "smoke_alarm", "glass_breaking")}, "3 sounds"),
    ],
)
async def test_the_headline_names_what_is_heard_as_long_as_it_fits(page, shown, active, verdict):
    shown.now = replace(
        HOUSE,
        activities=tuple(
            replace(each, active=(each.source, each.event) in active, since=HOUSE.at)
            for each in HOUSE.activities
        ),
    )
    await page.until(f"{text_of('#verdict')} === {json.dumps(verdict)}")
    if " and " in verdict:
        await page.size(360, 760)
        await page.until(f"{text_of('#verdict')} === '2 sounds'")


async def test_sources_and_events_come_and_go_with_a_reload(page, shown):
    shown.now = replace(HOUSE, sources=(HOUSE.sources[3], HOUSE.sources[0]), activities=HOUSE.activities[1:3])
    await page.until("document.querySelectorAll('.source').length === 2")
    names = "[...document.querySelectorAll('.source h3, .event-name')].map((each) => each.innerText)"
    assert await page.eval(names) == ["Garage", "Kitchen", "Smoke alarm", "Glass breaking"]
    shown.now = HOUSE
    await page.until("document.querySelectorAll('.source').length === 4")
    assert (await page.eval(names))[:3] == ["Kitchen", "Dog bark", "Smoke alarm"]


async def test_text_from_outside_stays_text(page, shown):
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    shown.now = replace(
        HOUSE,
        sources=(replace(HOUSE.sources[0], problem=evil), *HOUSE.sources[1:]),
        events=(replace(HOUSE.events[0], meaning=(evil,)), *HOUSE.events[1:]),
    )
    await page.until(f"{text_of('.problem')} === {json.dumps(evil)}")
    assert await page.eval("document.querySelectorAll('main img, main script').length") == 0
    assert "owned" not in await page.eval("document.title")


async def test_a_lost_connection_is_said_and_mended(browser, shown):
    async with shown.serve() as server:
        port = server.port
        await browser.open(server.url)
        await browser.until("document.body.dataset.stream === 'live'")
        assert await browser.eval("document.getElementById('banner').hidden")
    await browser.until("document.body.dataset.stream === 'lost'")
    banner = await browser.eval(text_of("#banner"))
    assert banner.startswith("No connection to the monitor; trying again. What is shown is from ")
    assert await browser.eval(text_of("#verdict")) == "Not connected"
    assert await browser.eval("document.title") == "Sound Monitor"
    shown.now = replace(HOUSE, version="0.2.0")
    async with shown.serve(port):
        await browser.until(f"{text_of('#facts')}.includes('0.2.0')")
        assert await browser.eval("document.getElementById('banner').hidden")
        assert await browser.eval("document.body.dataset.stream") == "live"


async def test_a_monitor_that_says_nothing_any_more_counts_as_lost(browser, shown, monkeypatch):
    hasten = "const real = setTimeout; setTimeout = (what, ms) => real(what, ms >= 3000 ? ms / 6 : ms);"
    script = await browser.call("Page.addScriptToEvaluateOnNewDocument", source=hasten)
    stuck = asyncio.Event()

    async def say_nothing(*_) -> None:
        await stuck.wait()

    async with shown.serve() as server:
        await browser.open(server.url)
        await browser.until("document.body.dataset.stream === 'live'")
        monkeypatch.setattr("monitor.web.live.wait", say_nothing)
        monkeypatch.setattr("monitor.web.live.LiveRoutes._stream", say_nothing)
        await browser.until("document.body.dataset.stream === 'lost'")
        monkeypatch.undo()
        await browser.until("document.body.dataset.stream === 'live'")
        stuck.set()
    await browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
