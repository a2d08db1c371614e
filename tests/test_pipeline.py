"""The whole path on made sound: what is heard is told once, in order, with the right times."""

import asyncio
from functools import partial

import pytest
from pipeline_kit import EVENTS, config, file, loaded, pipeline
from tones import ToneEncoder, write_scene

from monitor.batching import Batcher
from monitor.errors import EncoderError, SourceError
from monitor.sources.file import Recording
from monitor.types import Phase


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


@pytest.mark.parametrize("sources", [1, 3])
async def test_a_batch_waits_for_no_more_sources_than_there_are(sources, tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.pipeline.Batcher", partial(Batcher, gather_seconds=3600.0))
    path = write_scene(tmp_path / "a.wav", (500, 2))
    names = [f"hall_{number}" for number in range(sources)]
    built, collected, _ = await pipeline(config({name: file(path) for name in names}), lossless=True)
    async with asyncio.timeout(60):
        await built.run()
    assert {name: len(times) for name, times in collected.times.items()} == dict.fromkeys(names, 5)


async def test_a_file_that_is_not_paced_waits_for_the_scoring_in_a_daemon_too(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2.1))
    told = []
    for lossless in (True, False):
        built, collected, registry = await pipeline(config({"hall": file(path)}), lossless=lossless)
        await built.run()
        told.append(([(event.name, event.phase) for event in collected.events], len(collected.times["hall"])))
        dropped = {"source": "hall", "reason": "superseded"}
        assert not registry.get_sample_value("sound_monitor_windows_dropped_total", dropped)
    assert told[0] == told[1]
    assert told[0] == ([("low", Phase.START), ("low", Phase.END)], 22)


@pytest.mark.parametrize("seconds", [0.6, 1.0, 1.9, 3.1])
async def test_a_sound_that_fills_its_recording_is_told_from_its_beginning_to_its_end(seconds, tmp_path):
    path = write_scene(tmp_path / "a.wav", (500, seconds))
    anchored = partial(Recording, anchor=0.0)
    built, collected, _ = await pipeline(config({"hall": file(path)}), lossless=True, open_source=anchored)
    await built.run()
    began, ended = collected.events
    assert began.started_at == pytest.approx(0.0, abs=1e-6)
    assert ended.ended_at == pytest.approx(seconds, abs=1e-3)


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
