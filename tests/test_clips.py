"""Clips: the sound of an event to the sample, whole files only, as many and as old as is wanted."""

import asyncio
import itertools
import os

import aiohttp
import numpy as np
import pytest
import soundfile
from clips_kit import config, count, run
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tones import RATE_HZ, scene, write_scene

from monitor.clip_outlet import ClipOutlet, clip_outlet
from monitor.clips.store import ClipStore
from monitor.clips.tape import Tape, to_pcm16
from monitor.config import HttpConfig
from monitor.errors import SinkError
from monitor.metrics import Metrics
from monitor.types import AudioBlock, Event, Phase, Reason
from monitor.web.server import serve


async def test_a_clip_holds_the_samples_of_the_recording_bit_for_bit_from_the_pre_roll_on(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 4), (500, 2), (None, 4))
    made = config(tmp_path, path)
    events, registry = await run(made)
    start, end = events
    assert start.phase is Phase.START
    assert start.clip is None
    clip, rate_hz = soundfile.read(tmp_path / "clips" / end.clip, dtype="int16")
    whole, _ = soundfile.read(path, dtype="int16")
    assert rate_hz == RATE_HZ
    # The clock of a source begins when it is opened: the clip tells its own place.
    place = np.flatnonzero((np.lib.stride_tricks.sliding_window_view(whole, 64) == clip[:64]).all(axis=1))
    (first,) = place.tolist()
    assert (clip == whole[first : first + len(clip)]).all()
    lasted = end.ended_at - end.started_at
    assert len(clip) == round((1.5 + lasted + 0.75) * RATE_HZ)
    assert first / RATE_HZ + 1.5 == pytest.approx(4.0, abs=0.25)  # the tone's onset
    assert count(registry, "written") == 1
    assert (
        registry.get_sample_value("sound_monitor_clips_bytes")
        == (tmp_path / "clips" / end.clip).stat().st_size
    )


async def test_a_long_event_gives_a_clip_of_the_longest_length_and_a_lost_source_what_there_is(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 3), (500, 6))
    events, _ = await run(config(tmp_path, path, clips={"max_seconds": 3}))
    frames = soundfile.info(tmp_path / "clips" / events[-1].clip).frames
    assert frames == 3 * RATE_HZ
    events, _ = await run(config(tmp_path, path, clips={"directory": str(tmp_path / "whole")}))
    frames = soundfile.info(tmp_path / "whole" / events[-1].clip).frames
    assert 7 * RATE_HZ < frames < 9 * RATE_HZ


async def test_an_event_that_wants_no_clip_gets_none(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 2))
    made = config(tmp_path, path, events={"low": {"prompts": ["a tone of 500 Hz"], "clip": False}})
    events, _ = await run(made)
    assert [event.clip for event in events] == [None, None]
    assert not list((tmp_path / "clips").rglob("*.flac"))


async def test_a_disk_that_refuses_costs_the_clip_and_nothing_else(tmp_path, caplog):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2), (None, 3), (500, 2), (None, 3))
    made = config(tmp_path, path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "hall").write_text("a file where a folder must be")
    events, registry = await run(made)
    assert len(events) == 4
    assert count(registry, "failed") == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "clips.directory" in warnings[0]
    (tmp_path / "clips" / "hall").unlink()


def block(position, samples, rate_hz=100):
    return AudioBlock("hall", position, rate_hz, samples, start_time=50.0 + position / rate_hz)


@given(
    cuts=st.lists(st.integers(1, 1999), max_size=20),
    started=st.integers(0, 1200),
    lasted=st.integers(0, 600),
    late=st.integers(0, 300),
)
def test_a_take_is_the_same_however_the_sound_is_cut_into_blocks(cuts, started, lasted, late):
    sound = np.arange(2000, dtype=np.float32) / 32_768
    tape = Tape(keep_seconds=9.0, pre_seconds=2.0, post_seconds=1.0, max_seconds=6.0)
    edges = sorted({0, *cuts, 2000, started + late, started + lasted + late})
    edges = [edge for edge in edges if edge <= 2000]
    begun = ended = False
    takes = []
    for first, last in itertools.pairwise(edges):
        tape.push(block(first, sound[first:last]))
        if not begun and last >= started + late and last > started:
            begun = tape.begin("one", 50.0 + started / 100)
        if begun and not ended and last >= started + lasted + late:
            tape.end("one", 50.0 + (started + lasted) / 100)
            ended = True
        takes += tape.done(50.0 + last / 100)
    takes += tape.close()
    if begun:
        (take,) = takes
        begin = max(started - 200, 0)
        end = min(started + lasted + 100, begin + 600, 2000) if ended else min(begin + 600, 2000)
        # A block that ends only just within the tape's reach may be gone at its beginning.
        assert take.begin in range(begin, started + 1)
        assert take.samples().tolist() == list(range(take.begin, max(end, take.begin)))


def test_lost_samples_are_silence_of_the_same_length():
    tape = Tape(keep_seconds=9.0, pre_seconds=1.0, post_seconds=0.0, max_seconds=9.0)
    ones = np.full(100, 1 / 32_768, np.float32)
    tape.push(block(0, ones))
    tape.begin("one", 50.5)
    tape.push(block(200, ones))
    tape.end("one", 53.0)
    (take,) = tape.done(53.0)
    assert take.samples().tolist() == [1] * 100 + [0] * 100 + [1] * 100


def test_sixteen_bits_come_back_as_they_were():
    all_values = np.arange(-32_768, 32_768, dtype=np.int16)
    assert (to_pcm16(all_values.astype(np.float32) / 32_768) == all_values).all()
    assert to_pcm16(np.array([2.0, -2.0], np.float32)).tolist() == [32_767, -32_768]


def hourly(hour):
    return f"hall/2026-11-{22 + hour // 24}/{hour % 24:02}0000Z_low_0a1b2c3d.flac"


def test_the_oldest_clips_go_first_by_age_and_by_size(tmp_path):
    store = ClipStore(tmp_path, keep_days=1, max_bytes=10**9)
    noise = np.random.default_rng(1).integers(-9000, 9000, 40_000).astype(np.int16)
    for hour in range(30):
        store.write(hourly(hour), noise, 16_000, now=hour * 3600.0)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.flac"))
    assert left == [hourly(hour) for hour in range(5, 30)]
    size = (tmp_path / hourly(29)).stat().st_size
    small = ClipStore(tmp_path, keep_days=1e6, max_bytes=3 * size)
    small.write(hourly(30), noise, 16_000, now=30 * 3600.0)
    left = sum(path.stat().st_size for path in tmp_path.rglob("*.flac"))
    assert small.total_bytes == left <= 3 * size
    assert (tmp_path / hourly(30)).is_file()
    assert not (tmp_path / hourly(0)).parent.exists()


def test_files_that_are_no_clips_are_neither_counted_nor_removed(tmp_path):
    music = [
        tmp_path / name
        for name in (
            "Beatles/Help/01 Help.flac",
            "Beatles/Help/02 The Night Before.flac.part",
            "hall/2026-11-22/notes.flac",
            "hall/2026-11-22/song.part",
        )
    ]
    for path in music:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not ours")
        os.utime(path, (0.0, 0.0))
    store = ClipStore(tmp_path, keep_days=1, max_bytes=1)
    assert store.total_bytes == 0
    store.prune(1e9)
    store.write(hourly(0), np.zeros(1_000, np.int16), 16_000, now=1e9)
    assert all(path.is_file() for path in music)


async def test_old_clips_are_removed_at_the_start(tmp_path):
    made = config(tmp_path, tmp_path / "a.wav")
    old = tmp_path / "clips" / hourly(0)
    old.parent.mkdir(parents=True)
    old.write_bytes(b"fLaC")
    os.utime(old, (0.0, 0.0))
    registry = CollectorRegistry()
    async with clip_outlet(made, made.clips, Metrics(registry, made), np.zeros_like):
        assert not old.exists()
        assert registry.get_sample_value("sound_monitor_clips_bytes") == 0


async def test_clips_grow_old_also_where_no_other_is_written(tmp_path):
    made = config(tmp_path, tmp_path / "a.wav")
    store = ClipStore(tmp_path / "clips", keep_days=1, max_bytes=10**9)
    store.write(hourly(0), np.zeros(1_000, np.int16), 16_000, now=0.0)
    asked, loop, times = asyncio.Event(), asyncio.get_running_loop(), iter((86_000.0, 87_000.0))

    def clock():
        if (now := next(times, None)) is not None:
            return now
        loop.call_soon(asked.set)
        return 0.0

    metrics = Metrics(CollectorRegistry(), made)
    outlet = ClipOutlet(made, made.clips, store, metrics, np.zeros_like, clock=clock, prune_seconds=0.0)
    await outlet.prune()
    assert (tmp_path / "clips" / hourly(0)).exists()
    running = asyncio.create_task(outlet.run())
    await asked.wait()
    running.cancel()
    assert not (tmp_path / "clips" / hourly(0)).exists()


async def test_a_source_keeps_as_much_sound_as_the_configuration_in_force_asks_for(tmp_path):
    made = config(tmp_path, tmp_path / "a.wav")
    slow = config(tmp_path, tmp_path / "a.wav", events={"low": {"prompts": "a", "min_on_seconds": 40}})
    metrics = Metrics(CollectorRegistry(), made)
    outlet = ClipOutlet(made, made.clips, ClipStore(tmp_path, 1, 10**9), metrics, np.zeros_like)
    second = np.zeros(100, np.float32)
    outlet.heard(block(0, second))
    outlet.configure(slow)
    for position in range(100, 10_000, 100):
        outlet.heard(block(position, second))
    await outlet.deliver(Event("1", "hall", "low", Phase.START, 108.5, None, 0.9, 0.5, Reason.THRESHOLD))
    (take,) = outlet._tape("hall").close()
    assert take.start_time == 107.0


@pytest.mark.real
def test_a_full_disk_is_one_error_and_nothing_half_written(small_disk, capfd):
    store = ClipStore(small_disk / "clips", 1, 10**9)
    noise = np.random.default_rng(1).integers(-9000, 9000, 400_000).astype(np.int16)
    with pytest.raises(SinkError, match=r"can't be written: No space left on device; .*make room"):
        store.write("hall/day/1.flac", noise, 16_000, now=0.0)
    assert capfd.readouterr().err == ""
    assert list(small_disk.rglob("*.flac*")) == []
    store.write("hall/day/2.flac", noise[:4_000], 16_000, now=0.0)
    samples, _ = soundfile.read(small_disk / "clips/hall/day/2.flac", dtype="int16")
    assert samples.tolist() == noise[:4_000].tolist()


def test_what_a_crash_left_half_written_is_removed_at_the_next_start(tmp_path):
    part = tmp_path / "hall/2026-11-22/180000Z_low_1.flac.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"fLaC")
    assert ClipStore(tmp_path, 1, 10**9).total_bytes == 0
    assert not part.exists()


def test_a_folder_that_cannot_be_made_is_told_with_its_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"clips.directory '.*file/clips' can't be written: .*let this user"):
        ClipStore(tmp_path / "file" / "clips", 1, 10**9)


@pytest.mark.real
async def test_the_page_plays_clips_where_that_is_asked_for_and_nothing_else(tmp_path):
    directory = tmp_path / "clips"
    name = "hall/2026-11-22/180000Z_low_0a1b2c3d.flac"
    ClipStore(directory, 1, 10**9).write(name, to_pcm16(scene((500, 1))), RATE_HZ, now=0.0)
    (tmp_path / "secret.flac").write_text("secret")
    (directory / "hall/2026-11-22/180001Z_low_0a1b2c3d.flac").symlink_to(tmp_path / "secret.flac")
    content = (directory / name).read_bytes()

    def never():
        raise AssertionError

    for clips, found in ((directory, 200), (None, 404)):
        async with (
            serve(HttpConfig(port=0), CollectorRegistry(), never, never, clips=clips) as server,
            aiohttp.ClientSession() as session,
        ):
            async with session.get(f"{server.url}clips/{name}") as answer:
                assert answer.status == found
                if clips:
                    assert await answer.read() == content
                    assert answer.headers["Content-Type"] == "audio/flac"
            part = {"Range": "bytes=4-7"}
            async with session.get(f"{server.url}clips/{name}", headers=part) as answer:
                assert answer.status == (206 if clips else 404)
                if clips:
                    assert await answer.read() == content[4:8]
            for path in (
                "clips/..%2fsecret.flac",
                "clips/hall/..%2f..%2fsecret.flac",
                "clips//etc/passwd",
                "clips/hall/2026-11-22/180001Z_low_0a1b2c3d.flac",
                "clips/hall/2026-11-22",
                "clips/hall/2026-11-22/180000Z_low_0a1b2c3d.flac.part",
            ):
                async with session.get(f"{server.url}{path}", allow_redirects=False) as answer:
                    assert answer.status == 404, path
                    assert b"secret" not in await answer.read()


async def test_a_clip_that_waits_is_written_before_the_daemon_ends(tmp_path):
    path = write_scene(tmp_path / "a.wav", (None, 2), (500, 2))
    events, registry = await asyncio.wait_for(run(config(tmp_path, path)), 30)
    assert count(registry, "written") == 1
    assert soundfile.info(tmp_path / "clips" / events[-1].clip).frames > 2 * RATE_HZ
