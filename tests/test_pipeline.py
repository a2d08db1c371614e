"""The whole path on made sound: what is heard is told once, in order, with the right times."""

import asyncio
import itertools

import pytest
from prometheus_client import CollectorRegistry
from tones import RATE_HZ, ToneEncoder, scene, write_scene

from monitor.config import Config
from monitor.errors import EncoderError, SourceError
from monitor.metrics import Metrics
from monitor.pipeline import Outlet, Pipeline
from monitor.scoring import Scorer
from monitor.status import SourceState
from monitor.types import AudioBlock, Phase, Reason

EVENTS = {
    "low": {"prompts": "a tone of 500 Hz", "min_off_seconds": 0.5},
    "high": {"prompts": "a tone of 2000 Hz", "min_off_seconds": 0.5},
}


def config(sources, events=EVENTS, **more):
    return Config.model_validate(
        {
            "sources": sources,
            "events": events,
            "background": ["other"],
            "windows": {"window_seconds": 1.0, "hop_seconds": 0.25, "min_level_dbfs": -60},
            "smoothing": {"method": "none"},
            **more,
        }
    )


def file(path, **more):
    return {"type": "file", "path": str(path), "realtime": False, **more}


class Collected(Outlet):
    def __init__(self):
        self.events = []
        self.online = []
        self.times = {}
        self.samples = 0
        self.embedded_times = []
        self.silent = []
        self.changed = asyncio.Event()

    async def deliver(self, event):
        self.events.append(event)
        self.changed.set()

    def source_changed(self, source, online):
        self.online.append((source, online))

    def heard(self, block):
        self.samples += len(block.samples)

    def embedded(self, windows, embeddings):
        self.embedded_times += [window.end_time for window in windows]
        self.silent += (~embeddings.any(axis=1)).tolist()

    def scored(self, scores, activities):
        self.times.setdefault(scores.source, []).append(scores.end_time)
        self.changed.set()

    async def until(self, true):
        async with asyncio.timeout(20):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    def told(self):
        return [(event.source, event.name, str(event.phase), str(event.reason)) for event in self.events]


async def loaded(made, load=lambda _: ToneEncoder()):
    scorer = Scorer(load)
    scorer.use(await scorer.prepare(made))
    return scorer


async def pipeline(made, *, scorer=None, **options):
    collected = Collected()
    registry = CollectorRegistry()
    scorer = scorer or await loaded(made)
    ids = itertools.count(1)
    built = Pipeline(
        made, scorer, collected, Metrics(registry, made), new_id=lambda: f"id-{next(ids)}", **options
    )
    return built, collected, registry


async def test_every_sound_in_a_file_starts_and_ends_once(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2), (2000, 2), (None, 2))
    made = config({"hall": file(path)})
    built, collected, registry = await pipeline(made, lossless=True)
    await built.run()
    assert [(e.name, e.phase) for e in collected.events] == [
        ("low", Phase.START),
        ("low", Phase.END),
        ("high", Phase.START),
        ("high", Phase.END),
    ]
    low_start, low_end, *_ = collected.events
    assert low_start.id == low_end.id
    assert low_end.ended_at - low_start.started_at == pytest.approx(2.0, abs=0.8)
    assert len(collected.times["hall"]) == 37  # (10 s - 1 s) / 0.25 s + 1
    assert registry.get_sample_value("sound_monitor_windows_scored_total", {"source": "hall"}) == 37
    assert registry.get_sample_value("sound_monitor_events_total", {"source": "hall", "event": "low"}) == 1
    assert collected.online == [("hall", True), ("hall", False)]


async def test_sources_share_batches_but_not_events(tmp_path):
    a = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2))
    b = write_scene(tmp_path / "b.wav", (None, 2), (2000, 2), (None, 2), rate_hz=44_100)
    built, collected, _ = await pipeline(config({"a": file(a), "b": file(b)}), lossless=True)
    await built.run()
    assert sorted(collected.told()) == [
        ("a", "low", "end", "threshold"),
        ("a", "low", "start", "threshold"),
        ("b", "high", "end", "threshold"),
        ("b", "high", "start", "threshold"),
    ]


async def test_every_sample_and_every_embedding_is_handed_on_and_quiet_windows_have_none(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2))
    made = config(
        {"hall": file(path)}, windows={"window_seconds": 1, "hop_seconds": 0.25, "min_level_dbfs": -30}
    )
    built, collected, _ = await pipeline(made, lossless=True)
    await built.run()
    assert collected.samples == 6 * ToneEncoder().rate_hz
    assert collected.embedded_times == collected.times["hall"]
    first = collected.embedded_times[0]
    newest_hop_is_loud = [2.0 < time - first + 1.0 <= 4.0 for time in collected.embedded_times]
    assert collected.silent == [not loud for loud in newest_hop_is_loud]


async def test_a_steady_room_has_the_scores_of_its_last_embedding_and_the_same_events(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 6), (500, 2), (None, 6))
    windows = {"window_seconds": 1, "hop_seconds": 0.25, "min_level_dbfs": -90}
    every, collected, _ = await pipeline(config({"hall": file(path)}, windows=windows), lossless=True)
    await every.run()
    gate = {"change_gate": {"max_seconds": 60, "tolerance_db": 6}}
    gated, same, registry = await pipeline(
        config({"hall": file(path)}, windows=windows | gate), lossless=True
    )
    await gated.run()
    assert same.told() == collected.told()
    assert len(same.times["hall"]) == len(collected.times["hall"])
    assert same.embedded_times == same.times["hall"]
    reused = registry.get_sample_value("sound_monitor_windows_reused_total", {"source": "hall"})
    assert reused > 20
    scored = registry.get_sample_value("sound_monitor_windows_scored_total", {"source": "hall"})
    embedded = registry.get_sample_value("sound_monitor_batch_size_sum")
    assert scored == embedded + reused


async def test_an_event_is_only_listened_for_on_its_sources(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2))
    events = EVENTS | {"low": {**EVENTS["low"], "sources": ["attic"]}}
    built, collected, _ = await pipeline(
        config({"hall": file(path), "attic": file(path)}, events), lossless=True
    )
    await built.run()
    assert {event.source for event in collected.events} == {"attic"}


async def test_the_end_of_a_source_ends_its_events(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2))
    built, collected, _ = await pipeline(config({"hall": file(path)}), lossless=True)
    await built.run()
    assert collected.told()[-1] == ("hall", "low", "end", "source_lost")


async def test_sound_below_the_gate_is_not_scored(tmp_path):
    path = write_scene(tmp_path / "a.wav", (500, 3))
    loud = config({"hall": file(path)})
    deaf = config(
        {"hall": file(path)}, windows={"window_seconds": 1, "hop_seconds": 0.25, "min_level_dbfs": 0}
    )

    class Refusing(ToneEncoder):
        def embed_audio(self, windows):
            raise AssertionError("gated windows must not reach the model")

    built, collected, _ = await pipeline(deaf, scorer=await loaded(deaf, lambda _: Refusing()), lossless=True)
    await built.run()
    assert collected.events == []
    assert len(collected.times["hall"]) == 9
    built, collected, _ = await pipeline(loud, lossless=True)
    await built.run()
    assert len(collected.events) == 2


async def test_a_damaged_file_ends_a_lossless_run_with_its_error(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF not really")
    built, _, _ = await pipeline(config({"hall": file(path)}), lossless=True)
    with pytest.raises(ExceptionGroup) as raised:
        await built.run()
    assert raised.group_contains(SourceError, match="is no WAV, FLAC, OGG or MP3")


class Live:
    """A source that a test feeds by hand; each opening takes the next list of steps."""

    problem = None
    overflows = 0

    def __init__(self, name, steps):
        self.name = name
        self._steps = steps

    async def __aenter__(self):
        if isinstance(self._steps, Exception):
            raise self._steps
        return self

    async def __aexit__(self, *_):
        pass

    async def __aiter__(self):
        position = 0
        for step in self._steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            if isinstance(step, Exception):
                raise step
            yield AudioBlock(self.name, position, RATE_HZ, step, 1000.0 + position / RATE_HZ)
            position += len(step)
            await asyncio.sleep(0)


async def test_a_muted_microphone_is_a_problem_that_is_told():
    made = config({"hall": {"type": "microphone"}})
    forever = asyncio.Event()
    source = Live("hall", [scene((500, 2)), forever])
    source.problem = "exact zeros for 10 s"
    built, collected, registry = await pipeline(made, open_source=lambda *_: source)
    running = asyncio.create_task(built.run())
    await collected.until(lambda: collected.events)
    (status,) = built.source_statuses()
    assert (status.state, status.problem) == (SourceState.PROBLEM, "exact zeros for 10 s")
    assert built.silent_sources() == ["source hall: exact zeros for 10 s"]
    assert built.stall() is None
    assert registry.get_sample_value("sound_monitor_source_up", {"source": "hall"}) == 0
    built.stop()
    await running


def live(*openings):
    each = iter(openings)
    return lambda name, _config, _rate_hz: Live(name, next(each))


async def test_a_lost_source_ends_its_events_is_opened_again_and_heard_again(monkeypatch):
    monkeypatch.setattr("monitor.supervise.Backoff.waits", lambda *_: itertools.repeat(0.0))
    tone, forever = [scene((500, 1.5))], asyncio.Event()
    made = config({"hall": {"type": "microphone"}})
    built, collected, registry = await pipeline(
        made,
        open_source=live(
            SourceError("not there"),
            [*tone, SourceError("unplugged")],
            [*tone, forever],
        ),
    )
    running = asyncio.create_task(built.run())
    await collected.until(lambda: len(collected.events) == 3)
    assert collected.told() == [
        ("hall", "low", "start", "threshold"),
        ("hall", "low", "end", "source_lost"),
        ("hall", "low", "start", "threshold"),
    ]
    (status,) = built.source_statuses()
    assert (status.state, status.restarts) == (SourceState.ONLINE, 2)
    restarts = "sound_monitor_capture_restarts_total"
    assert registry.get_sample_value(restarts, {"source": "hall", "reason": "open_failed"}) == 1
    assert registry.get_sample_value(restarts, {"source": "hall", "reason": "lost"}) == 1
    built.stop()
    await running
    assert collected.told()[-1] == ("hall", "low", "end", "shutdown")


async def test_when_scoring_is_slow_the_newest_window_wins_and_the_rest_is_counted():
    made = config({"hall": {"type": "microphone"}})
    forever = asyncio.Event()
    blocks = [scene((None, 0.25), seed=index) for index in range(40)]
    built, collected, registry = await pipeline(made, open_source=live([*blocks, forever]))
    scored = built._scorer.score

    async def slow(windows):
        for _ in range(25):
            await asyncio.sleep(0)
        return await scored(windows)

    built._scorer.score = slow
    running = asyncio.create_task(built.run())
    await collected.until(lambda: collected.times.get("hall", [0.0])[-1] >= 1010.0)
    built.stop()
    await running
    (status,) = built.source_statuses()
    assert status.windows_scored + sum(status.windows_dropped.values()) == 37
    assert sum(status.windows_dropped.values()) > 0
    dropped = {"source": "hall", "reason": "superseded"}
    assert registry.get_sample_value("sound_monitor_windows_dropped_total", dropped) == sum(
        status.windows_dropped.values()
    )


async def test_the_model_is_rebuilt_once_and_then_gives_up(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2))
    made = config({"hall": file(path)})
    loads = []

    class Failing(ToneEncoder):
        def __init__(self, failures):
            self.failures = failures

        def embed_audio(self, windows):
            if self.failures:
                self.failures -= 1
                raise EncoderError("CUDA error: out of memory")
            return super().embed_audio(windows)

    def load(failures):
        loads.append(failures)
        return Failing(failures)

    once = iter([1, 0])
    scorer = await loaded(made, lambda _: load(next(once)))
    built, collected, _ = await pipeline(made, scorer=scorer, lossless=True)
    await built.run()
    assert len(collected.events) == 2
    assert len(loads) == 2
    scorer = await loaded(made, lambda _: load(99))
    built, _, _ = await pipeline(made, scorer=scorer, lossless=True)
    with pytest.raises(ExceptionGroup) as raised:
        await built.run()
    assert raised.group_contains(EncoderError, match="out of memory")


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


async def test_memory_stays_flat_while_scoring_is_slower_than_the_sound():
    import gc
    import tracemalloc

    def held() -> int:
        gc.collect()  # what waits for the collector is not held; when it runs depends on the tests before
        return tracemalloc.get_traced_memory()[0]

    sound, forever, stuck = scene((None, 0.25)), asyncio.Event(), asyncio.Event()

    def endless():
        for number in itertools.count():
            if number == 200:
                sizes.append(held())
            if number == 3000:
                sizes.append(held())
                played.set()
                yield forever
            yield sound.copy()

    sizes, played = [], asyncio.Event()
    made = config({"hall": {}})
    built, _, registry = await pipeline(made, open_source=live(endless()))
    scored = built._scorer.score

    async def hanging(windows):
        await stuck.wait()
        return await scored(windows)

    built._scorer.score = hanging
    tracemalloc.start()
    running = asyncio.create_task(built.run())
    try:
        async with asyncio.timeout(60):
            await played.wait()
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 100_000, "11 minutes of sound take no more than a minute of it"
    dropped = {"source": "hall", "reason": "superseded"}
    assert registry.get_sample_value("sound_monitor_windows_dropped_total", dropped) > 2900
    stuck.set()
    built.stop()
    await running
