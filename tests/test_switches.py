"""Detection that is switched off by hand: nothing begins, what lasts ends, and it stays off over restarts."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_kit import EVENTS, Collected, config, live, loaded
from prometheus_client import CollectorRegistry
from tones import scene

from monitor.errors import MonitorError
from monitor.metrics import Metrics
from monitor.outlets import LogOutlet, SwitchMemory
from monitor.pipeline import Pipeline
from monitor.switches import NOTHING_OFF, Switches, load_switches, save_switches

SLUGS = st.sampled_from(["hall", "attic", "low", "high"])
PAIRS = st.tuples(SLUGS, st.none() | SLUGS)
MADE = config({"hall": {"type": "microphone"}})


@given(st.lists(st.tuples(PAIRS, st.booleans())))
def test_every_switch_keeps_the_position_it_was_turned_to_last(turns):
    switches, expected = NOTHING_OFF, {}
    for switch, on in turns:
        switches = switches.turned(*switch, on)
        expected[switch] = on
    for switch, on in expected.items():
        assert switches.on(*switch) == on
    for source in ("hall", "attic"):
        for event in ("low", "high"):
            own, whole = expected.get((source, event), True), expected.get((source, None), True)
            assert switches.detects(source, event) == (own and whole)


def test_what_leaves_the_configuration_comes_back_switched_on():
    switches = Switches(frozenset({"hall", "hall/low", "hall/gone", "gone", "gone/low"}))
    assert switches.within(MADE).off == {"hall", "hall/low"}
    elsewhere = {"low": {**EVENTS["low"], "sources": ["attic"]}, "high": EVENTS["high"]}
    both = config({"hall": {"type": "microphone"}, "attic": {"type": "microphone"}}, elsewhere)
    assert switches.within(both).off == {"hall"}


def test_what_is_saved_is_loaded_and_leaves_nothing_else_behind(tmp_path):
    path = tmp_path / "not" / "there" / "switches.json"
    for off in ({"hall"}, {"hall/low", "attic"}, set()):
        save_switches(path, Switches(frozenset(off)))
        assert load_switches(path).off == off
    assert list(path.parent.iterdir()) == [path]


def test_without_a_file_everything_is_on_and_nothing_is_said(tmp_path, caplog):
    assert load_switches(tmp_path / "switches.json") == NOTHING_OFF
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "{", "[]", '{"off": "hall"}', '{"off": [1]}', '{"on": []}', "\x00"])
def test_a_damaged_file_is_told_and_everything_is_on(text, tmp_path, caplog):
    path = tmp_path / "switches.json"
    path.write_text(text)
    assert load_switches(path) == NOTHING_OFF
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "all detection is switched on" in record.getMessage()


async def test_a_file_that_cannot_be_written_is_told_and_written_at_the_next_change(tmp_path, caplog):
    blocked = tmp_path / "state"
    blocked.write_text("not a folder")
    memory = SwitchMemory(blocked / "switches.json", NOTHING_OFF)
    await memory.switched(Switches(frozenset({"hall"})))
    assert "switches hold until the next start" in caplog.text
    blocked.unlink()
    await memory.switched(Switches(frozenset({"hall"})))
    assert load_switches(blocked / "switches.json").off == {"hall"}


async def test_the_log_tells_what_is_off_at_the_start_and_every_change(caplog):
    outlet = LogOutlet()
    with caplog.at_level(logging.INFO, "monitor.outlets"):
        for off in ({"hall/low"}, {"hall/low"}, {"hall"}, set()):
            await outlet.switched(Switches(frozenset(off)))
    assert [record.getMessage().replace("detection is switched ", "") for record in caplog.records] == [
        "hall/low: off",
        "hall: off",
        "hall/low: on",
        "hall: on",
    ]


class Told(Collected):
    def __init__(self):
        super().__init__()
        self.switches = []

    async def switched(self, switches):
        self.switches.append(switches)


async def built(open_source, switches=NOTHING_OFF, made=MADE):
    told, registry = Told(), CollectorRegistry()
    pipeline = Pipeline(
        *(made, await loaded(made), told, Metrics(registry, made)), open_source=open_source, switches=switches
    )
    return pipeline, told, registry


def gauge(registry, name, event):
    return registry.get_sample_value(f"sound_monitor_event_{name}", {"source": "hall", "event": event})


@pytest.mark.parametrize("event", ["low", None])
async def test_switching_off_ends_what_lasts_and_switching_on_hears_it_again(event):
    tone, off, on = [scene((500, 2))], asyncio.Event(), asyncio.Event()
    pipeline, told, registry = await built(live([*tone, off, *tone, on, *tone, asyncio.Event()]))
    running = asyncio.create_task(pipeline.run())
    await told.until(lambda: len(told.events) == 1)
    await pipeline.enable("hall", event, on=False)
    assert told.told()[1:] == [("hall", "low", "end", "disabled")]
    assert (gauge(registry, "enabled", "low"), gauge(registry, "active", "low")) == (0.0, 0.0)
    assert gauge(registry, "enabled", "high") == (0.0 if event is None else 1.0)
    (source,) = pipeline.source_statuses()
    low, high = pipeline.activities()
    assert (source.enabled, low.enabled, high.enabled) == (event is not None, event is None, True)
    off.set()
    await told.until(lambda: told.times["hall"][-1] >= 1004.0)
    assert len(told.events) == 2
    assert gauge(registry, "score", "low") == 0.0
    await pipeline.enable("hall", event, on=True)
    on.set()
    await told.until(lambda: len(told.events) == 3)
    assert told.told()[2] == ("hall", "low", "start", "threshold")
    assert gauge(registry, "enabled", "low") == 1.0
    assert told.events[2].id != told.events[1].id
    pipeline.stop()
    await running


async def test_the_switch_of_a_source_leaves_those_of_its_events_as_they_are():
    pipeline, told, _ = await built(live([]), Switches(frozenset({"hall/low"})))
    await pipeline.enable("hall", None, on=False)
    await pipeline.enable("hall", None, on=True)
    assert [activity.enabled for activity in pipeline.activities()] == [False, True]
    assert told.switches[-1].off == {"hall/low"}


async def test_a_switch_that_does_not_move_is_told_to_nobody():
    pipeline, told, _ = await built(live([]))
    await pipeline.enable("hall", "low", on=True)
    assert not told.switches


@pytest.mark.parametrize(
    "switch", [("attic", None), ("hall", "thunder"), ("attic", "low"), ("hall/low", None)]
)
async def test_what_is_not_listened_for_has_no_switch(switch):
    pipeline, told, _ = await built(live([]))
    with pytest.raises(MonitorError, match="isn't listened for"):
        await pipeline.enable(*switch, on=False)
    assert not told.switches


async def test_a_source_that_is_off_costs_no_scoring_and_makes_progress():
    forever = asyncio.Event()
    pipeline, told, _ = await built(live([scene((500, 4)), forever]), Switches(frozenset({"hall"})))
    scored = []
    score = pipeline._scorer.score

    async def counted(windows):
        scored.extend(windows)
        return await score(windows)

    pipeline._scorer.score = counted
    running = asyncio.create_task(pipeline.run())
    await told.until(lambda: told.times.get("hall", [0.0])[-1] >= 1004.0)
    assert not scored
    assert not told.events
    assert pipeline.stall() is None
    assert pipeline.silent_sources() == []
    pipeline.stop()
    await running


async def test_a_reload_keeps_the_switches_and_forgets_those_of_what_is_gone():
    tone, forever = scene((500, 2)), asyncio.Event()
    off = Switches(frozenset({"hall/low", "hall/high"}))
    pipeline, told, registry = await built(live([tone, forever]), off)
    running = asyncio.create_task(pipeline.run())
    await told.until(lambda: told.times.get("hall", [0.0])[-1] >= 1002.0)
    stricter = {"low": {**EVENTS["low"], "on_threshold": 0.6}}
    await pipeline.apply(config({"hall": {"type": "microphone"}}, stricter))
    assert pipeline.switches.off == {"hall/low"}
    assert gauge(registry, "enabled", "low") == 0.0
    await pipeline.apply(MADE)
    assert [activity.enabled for activity in pipeline.activities()] == [False, True]
    assert gauge(registry, "enabled", "high") == 1.0
    assert told.switches[-1].off == {"hall/low"}
    assert not told.events
    pipeline.stop()
    await running
