"""A new configuration for a running pipeline: what stays, what ends, and what may come in between."""

import asyncio
import itertools
import threading

import pytest
from pipeline_kit import EVENTS, Collected, Live, config, live, loaded, pipeline
from prometheus_client import CollectorRegistry
from tones import ToneEncoder, scene

from monitor.config import EncoderConfig
from monitor.errors import EncoderError, SourceError
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.types import Phase, Reason

LARGER = EncoderConfig(max_batch=32)


async def test_reload_keeps_what_is_unchanged_and_ends_what_is_gone():
    tone, again, forever = scene((500, 2)), asyncio.Event(), asyncio.Event()
    made = config({"hall": {"type": "microphone"}})
    built, collected, registry = await pipeline(made, open_source=live([tone, again, tone, forever]))
    running = asyncio.create_task(built.run())
    await collected.until(lambda: len(collected.events) == 1)
    renamed = {"low": EVENTS["low"], "higher": {"prompts": "a tone of 4000 Hz"}}
    await built.apply(config({"hall": {"type": "microphone"}}, renamed))
    assert [(a.event, a.active) for a in built.activities()] == [("low", True), ("higher", False)]
    assert registry.get_sample_value("sound_monitor_event_score", {"source": "hall", "event": "high"}) is None
    await built.apply(config({"hall": {"type": "microphone"}}, {"higher": renamed["higher"]}))
    assert collected.told() == [("hall", "low", "start", "threshold"), ("hall", "low", "end", "reload")]
    again.set()
    await built.apply(made)
    built.stop()
    await running
    starts = [event.id for event in collected.events if event.phase is Phase.START]
    ends = [event.id for event in collected.events if event.phase is Phase.END]
    assert starts == ends


async def test_reload_adds_and_removes_sources(tmp_path):
    forever = asyncio.Event()
    made = config({"hall": {"type": "microphone"}})
    opened = []

    def open_source(name, _config, _rate_hz):
        opened.append(name)
        return Live(name, [scene((500, 2)), forever])

    built, collected, _ = await pipeline(made, open_source=open_source)
    running = asyncio.create_task(built.run())
    await collected.until(lambda: len(collected.events) == 1)
    await built.apply(config({"attic": {"type": "microphone"}}))
    await collected.until(lambda: len(collected.events) == 3)
    assert opened == ["hall", "attic"]
    assert collected.told() == [
        ("hall", "low", "start", "threshold"),
        ("hall", "low", "end", Reason.RELOAD.value),
        ("attic", "low", "start", "threshold"),
    ]
    assert [status.name for status in built.source_statuses()] == ["attic"]
    built.stop()
    await running


async def test_a_reload_that_cannot_load_its_model_changes_nothing():
    forever = asyncio.Event()
    made = config({"hall": {"type": "microphone"}})

    def load(encoder):
        if encoder.model != "compact":
            raise EncoderError("no such model")
        return ToneEncoder()

    built, collected, _ = await pipeline(
        made, scorer=await loaded(made, load), open_source=live([scene((500, 2)), forever])
    )
    running = asyncio.create_task(built.run())
    await collected.until(lambda: len(collected.events) == 1)
    with pytest.raises(EncoderError, match="no such model"):
        await built.apply(config({"hall": {"type": "microphone"}}, encoder={"model": "elsewhere"}))
    assert built.config is made
    assert [activity.active for activity in built.activities()] == [True, False]
    built.stop()
    await running


async def test_windows_are_scored_while_a_reload_loads_another_model_and_each_model_keeps_to_one_thread():
    loading, gate, blocks = asyncio.Event(), threading.Event(), asyncio.Queue()
    loop = asyncio.get_running_loop()
    threads = []

    class Noted(ToneEncoder):
        def __init__(self):
            self.threads = {threading.get_ident()}
            threads.append(self.threads)

        def embed_audio(self, windows):
            self.threads.add(threading.get_ident())
            return super().embed_audio(windows)

        def embed_text(self, prompts):
            self.threads.add(threading.get_ident())
            return super().embed_text(prompts)

    def load(encoder):
        if encoder.max_batch == 32:
            loop.call_soon_threadsafe(loading.set)
            assert gate.wait(20)
        return Noted()

    class Fed(Live):
        async def __aiter__(self):
            async for block in super().__aiter__():
                await blocks.get()
                yield block

    async def scored(first, last):
        for number in range(first, last + 1):
            blocks.put_nowait(None)
            await collected.until(lambda number=number: len(collected.times.get("hall", [])) == number)

    made = config({"hall": {"type": "microphone"}}, windows={"window_seconds": 0.5, "hop_seconds": 0.5})
    sound = itertools.repeat(scene((500, 0.5)))
    built, collected, _ = await pipeline(
        made, scorer=await loaded(made, load), open_source=lambda name, *_: Fed(name, sound)
    )
    running = asyncio.create_task(built.run())
    await scored(1, 2)
    reloading = asyncio.create_task(built.apply(made.model_copy(update={"encoder": LARGER})))
    async with asyncio.timeout(10):
        await loading.wait()
    await scored(3, 12)
    assert not reloading.done()
    gate.set()
    await reloading
    await scored(13, 14)
    first, second = threads
    assert (len(first), len(second)) == (1, 1)
    assert not first & second
    built.stop()
    await running


class Gated(Collected):
    """An outlet that takes its time over ends: until `gate` is set."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    async def deliver(self, event):
        if event.phase is Phase.END:
            self.waiting.set()
            await self.gate.wait()
        await super().deliver(event)


async def gated(made, steps):
    """A running pipeline whose sources take the steps of their name, once an occurrence lasts on each."""
    outlet = Gated()
    built = Pipeline(
        made,
        await loaded(made),
        outlet,
        Metrics(CollectorRegistry(), made),
        open_source=lambda name, _config, _rate_hz: Live(name, steps[name]),
    )
    running = asyncio.create_task(built.run())
    await outlet.until(lambda: len(outlet.events) == len(made.sources))
    return built, outlet, running


async def finish(outlet, running):
    outlet.gate.set()
    async with asyncio.timeout(10):
        await running


def paired(events):
    starts = sorted(event.id for event in events if event.phase is Phase.START)
    ends = sorted(event.id for event in events if event.phase is Phase.END)
    return len(set(starts)) == len(starts) and starts == ends


async def test_a_source_that_is_lost_in_the_middle_of_a_reload_harms_nothing(monkeypatch):
    monkeypatch.setattr("monitor.supervise.Backoff.waits", lambda *_: itertools.repeat(3600.0))
    tone, lose, forever = scene((500, 2)), asyncio.Event(), asyncio.Event()
    made = config({"hall": {}, "attic": {}})
    steps = {"hall": [tone, forever], "attic": [tone, lose, SourceError("unplugged")]}
    built, outlet, running = await gated(made, steps)
    reloading = asyncio.create_task(built.apply(config({"hall": {}, "attic": {}}, {"high": EVENTS["high"]})))
    await outlet.waiting.wait()
    lose.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    outlet.gate.set()
    await reloading
    built.stop()
    await finish(outlet, running)
    assert paired(outlet.events)


async def test_an_end_that_is_being_told_when_a_reload_takes_its_source_out_is_told_once(monkeypatch):
    monkeypatch.setattr("monitor.supervise.Backoff.waits", lambda *_: itertools.repeat(3600.0))
    tone, lose, forever = scene((500, 2)), asyncio.Event(), asyncio.Event()
    made = config({"hall": {}, "attic": {}})
    steps = {"hall": [tone, forever], "attic": [tone, lose, SourceError("unplugged")]}
    built, outlet, running = await gated(made, steps)
    lose.set()
    await outlet.waiting.wait()
    reloading = asyncio.create_task(built.apply(config({"hall": {}})))
    for _ in range(20):
        await asyncio.sleep(0)
    outlet.gate.set()
    await reloading
    assert ("attic", "low", "end", "source_lost") in outlet.told()
    built.stop()
    await finish(outlet, running)
    assert paired(outlet.events)


async def test_a_stop_in_the_middle_of_a_reload_still_ends_everything():
    tone, forever = scene((500, 2)), asyncio.Event()
    steps = {"hall": [tone, forever], "attic": [tone, forever]}
    built, outlet, running = await gated(config({"hall": {}}), steps)
    reloading = asyncio.create_task(built.apply(config({"attic": {}})))
    await outlet.waiting.wait()
    built.stop()
    for _ in range(20):
        await asyncio.sleep(0)
    await finish(outlet, running)
    await reloading
    assert paired(outlet.events)
