"""The pipeline on sound that doesn't wait: muted and lost sources, and scoring that is too slow."""

import asyncio
import itertools
from dataclasses import replace
from types import SimpleNamespace

from pipeline_kit import Live, config, live, pipeline
from tones import scene

from monitor.errors import SourceError
from monitor.status import SourceState


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


async def test_sound_that_fills_no_window_is_its_source_s_problem_and_only_unscored_windows_a_stall(
    monkeypatch, caplog
):
    now, torn = [1000.0], [True]
    heard, blocks, awake = asyncio.Event(), asyncio.Queue(), asyncio.Event()
    monkeypatch.setattr("monitor.listening.time", SimpleNamespace(monotonic=lambda: now[0]))

    class Unsteady(Live):
        async def __aiter__(self):
            sound = aiter(super().__aiter__())
            while True:
                await blocks.get()
                now[0] += 0.25
                yield replace(await anext(sound), gap=torn[0])
                heard.set()

    async def hear(seconds):
        for _ in range(round(4 * seconds)):
            heard.clear()
            blocks.put_nowait(None)
            async with asyncio.timeout(10):
                await heard.wait()

    made = config({"hall": {"type": "microphone"}}, windows={"window_seconds": 0.5, "hop_seconds": 0.25})
    steps = itertools.repeat(scene((500, 0.25)))
    built, collected, registry = await pipeline(made, open_source=lambda name, *_: Unsteady(name, steps))
    scored = built._scorer.score

    async def hanging(windows):
        await awake.wait()
        return await scored(windows)

    built._scorer.score = hanging
    running = asyncio.create_task(built.run())
    await hear(60)
    says = (
        "its sound never lasts 0.5 s without a gap, so nothing is scored: mend what loses sound, "
        "loop a longer file, or lower windows.window_seconds"
    )
    assert built.stall() is None
    assert built.silent_sources() == [f"source hall: {says}"]
    assert [status.problem for status in built.source_statuses()] == [says]
    assert registry.get_sample_value("sound_monitor_source_up", {"source": "hall"}) == 0
    assert [record.message for record in caplog.records] == [f"source hall: {says}"]
    torn[0] = False
    await hear(10)
    assert (built.stall(), built.silent_sources()) == (None, [])
    await hear(6.25)
    assert built.stall() == "source hall: no scores for 16 s"
    awake.set()
    await collected.until(lambda: collected.times)
    assert built.stall() is None
    built.stop()
    await running


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
