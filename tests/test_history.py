"""The history as a whole: nothing flushed is lost, kinds don't mix, old and large goes."""

import asyncio
import logging
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from forkserver import ForkServer, is_alive
from history_kit import BEGAN, HOUR, batch, rows, written
from history_writer import DIMENSION, embedding, kind, window

from monitor.history.folder import Folder, name_at
from monitor.history.segment import ROWS, Segment
from monitor.history.values import HistoryError, Rows
from monitor.history.writer import Writer
from monitor.recorder import Recorder, recording
from monitor.types import Event, Phase, Reason

KILLS = 100


def test_hours_and_sources_have_segments_of_their_own_and_another_encoder_begins_one(tmp_path):
    writer = Writer(Folder(tmp_path), 1e5, 1e12)
    writer.write([batch(3590, 3610), batch(3590, 3610, "yard")], [])
    writer.write([batch(3610, 3620), batch(3610, 3620, "yard", encoder="tones-2")], [])
    writer.close()
    found = [(s.kind.source, s.kind.encoder, len(s), s.span) for s in Folder(tmp_path).segments()]
    assert found == [
        ("hall", "tones-1", 10, (BEGAN + 3588, BEGAN + 3599)),
        ("yard", "tones-1", 10, (BEGAN + 3588, BEGAN + 3599)),
        ("hall", "tones-1", 20, (BEGAN + 3598, BEGAN + 3619)),
        ("yard", "tones-1", 10, (BEGAN + 3598, BEGAN + 3609)),
        ("yard", "tones-2", 10, (BEGAN + 3608, BEGAN + 3619)),
    ]
    assert len(list(Folder(tmp_path).segments(since=BEGAN + 3600))) == 3
    assert len(list(Folder(tmp_path).segments(until=BEGAN + 3600, sources=["yard"]))) == 1


def test_the_old_and_then_the_oldest_go_but_never_what_is_being_written(tmp_path):
    folder = Folder(tmp_path)
    for hour in range(6):
        path = tmp_path / "hall"
        path.mkdir(exist_ok=True)
        part = rows(int(hour * HOUR), int(hour * HOUR) + 10)
        written(path / name_at(BEGAN + hour * HOUR), part)
    places = folder.places()
    each = (tmp_path / "hall").joinpath(places[0].stem.name + ROWS).stat().st_size + 10 * 2 * DIMENSION
    gone = folder.retain(since=BEGAN + HOUR, max_bytes=3 * each)
    assert gone == places[:3]
    assert folder.places() == places[3:]
    assert folder.retain(since=BEGAN + 9 * HOUR, max_bytes=0, writing=[places[4].stem]) == [
        places[3],
        places[5],
    ]
    assert folder.places() == [places[4]]


def test_the_writer_keeps_to_age_and_size_by_itself(tmp_path):
    now = [0.0]
    clock = lambda: BEGAN + 10 * HOUR  # noqa: E731
    writer = Writer(Folder(tmp_path), 8 / 24, 1e9, clock=clock, monotonic=lambda: now[0])
    for hour in range(5):
        writer.write([batch(int(hour * HOUR), int(hour * HOUR) + 10)], [])
        now[0] += 301.0
    assert [place.began for place in Folder(tmp_path).places()] == [BEGAN + h * HOUR for h in (2, 3, 4)]
    writer.close()


def test_a_source_that_stays_away_keeps_no_segment_open_and_none_longer_than_the_rest(tmp_path):
    now = [BEGAN]
    writer = Writer(Folder(tmp_path), 1.0, 1e9, clock=lambda: now[0], monotonic=lambda: now[0])
    writer.write([batch(0, 10, source="attic"), batch(0, 10)], [])
    handles = len(list(Path("/proc/self/fd").iterdir()))
    for hour in range(1, 27):
        now[0] = BEGAN + hour * HOUR
        writer.write([batch(int(hour * HOUR), int(hour * HOUR) + 10)], [])
        now[0] += 40.0
        writer.write([], [])
    assert len(list(Path("/proc/self/fd").iterdir())) == handles - 2
    assert {place.source for place in Folder(tmp_path).places()} == {"hall"}
    writer.close()


def test_a_segment_that_is_still_appended_to_stays_open_though_its_hour_has_passed(tmp_path):
    now = [0.0]
    writer = Writer(Folder(tmp_path), 1e5, 1e12, clock=lambda: BEGAN + 9 * HOUR, monotonic=lambda: now[0])
    for number in range(5):
        writer.write([batch(number, number + 1)], [])
        now[0] += 31.0
    writer.close()
    assert [len(segment) for segment in Folder(tmp_path).segments()] == [5]


def test_what_a_crash_left_of_a_segment_is_in_no_way_of_the_next(tmp_path):
    writer = Writer(Folder(tmp_path), 1e5, 1e12)
    writer.write([batch(0, 1)], [])
    writer.close()
    next(tmp_path.glob("hall/*.rows")).unlink()
    writer.write([batch(0, 3)], [])
    writer.close()
    assert [len(segment) for segment in Folder(tmp_path).segments()] == [3]


def test_delete_takes_whole_hours_and_overwrites_what_may_still_be_written(tmp_path):
    folder = Folder(tmp_path)
    writer = Writer(folder, 1e5, 1e12)
    for hour in range(3):
        writer.write(
            [
                batch(int(hour * HOUR), int(hour * HOUR) + 20),
                batch(int(hour * HOUR), int(hour * HOUR) + 20, "yard"),
            ],
            [],
        )
    windows, freed = folder.delete(BEGAN + 2 * HOUR + 5, BEGAN + 2 * HOUR + 20, sources=["hall"])
    assert windows == 45
    assert freed > 0
    writer.write([batch(int(2 * HOUR) + 20, int(2 * HOUR) + 25)], [])
    writer.close()
    left = {source: sum(len(s) for s in folder.segments(sources=[source])) for source in ("hall", "yard")}
    assert left == {"hall": 20, "yard": 60}


def test_an_occurrence_is_told_by_its_end_wherever_that_was_written(tmp_path):
    writer = Writer(Folder(tmp_path), 1e5, 1e12)
    start = {"id": "x", "source": "hall", "phase": "start", "started_at": BEGAN + 5, "ended_at": None}
    writer.write([batch(0, 10)], [start])
    writer.write([batch(4000, 4010)], [{**start, "phase": "end", "ended_at": BEGAN + 4005}])
    writer.close()
    told = Folder(tmp_path).events(BEGAN, BEGAN + 10)
    assert [(event["id"], event["ended_at"]) for event in told] == [("x", BEGAN + 4005)]
    assert Folder(tmp_path).events(BEGAN + 6) == []


def test_a_folder_has_one_writer(tmp_path):
    with (
        Folder(tmp_path).lock(),
        pytest.raises(HistoryError, match="is being written by another process"),
        Folder(tmp_path).lock(),
    ):
        pass
    with Folder(tmp_path).lock():
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="can't be written: "), Folder(tmp_path / "file").lock():
        pass


def test_what_is_no_folder_is_told_and_an_absent_one_is_empty(tmp_path):
    assert Folder(tmp_path / "absent").places() == []
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="can't be read: Not a directory"):
        Folder(tmp_path / "file").places()


async def test_a_loss_of_the_source_begins_another_stretch(tmp_path):
    recorder = Recorder(Writer(Folder(tmp_path), 1e5, 1e12), lambda w, _: kind(w.source))
    for number in range(6):
        if number == 3:
            recorder.source_changed("hall", False)
            recorder.source_changed("hall", True)
        recorder.embedded(
            [window(number), window(number, "yard")], np.stack([embedding(number)] * 2).astype(np.float32)
        )
    await recorder.flush()
    begins = {s.kind.source: next(s.blocks()).begins.tolist() for s in Folder(tmp_path).segments()}
    assert begins["hall"] == [True, False, False, True, False, False]
    assert begins["yard"] == [True, False, False, False, False, False]


async def test_the_events_stand_beside_their_windows(tmp_path):
    async with recording(tmp_path, lambda w, _: kind(w.source)) as recorder:
        recorder.embedded([window(1)], embedding(1)[None].astype(np.float32))
        await recorder.deliver(
            Event("i", "hall", "bark", Phase.START, BEGAN, None, 0.9, 0.5, Reason.THRESHOLD)
        )
    assert [event["event"] for event in Folder(tmp_path).events()] == ["bark"]
    assert recorder.written == 1


class Stuck(Writer):
    """A disk that hangs until told otherwise."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.released = threading.Event()

    def write(self, batches, events):
        self.released.wait(30)
        super().write(batches, events)


async def test_a_disk_that_hangs_holds_nobody_up_and_what_finds_no_room_is_counted(tmp_path):
    stuck = Stuck(Folder(tmp_path), 1e5, 1e12)
    recorder = Recorder(stuck, lambda w, _: kind(w.source), most_windows=50)
    vectors = [embedding(n)[None].astype(np.float32) for n in range(90)]
    flushing = None
    slowest = 0.0
    for number in range(80):
        began = time.perf_counter()
        recorder.embedded([window(number)], vectors[number])
        slowest = max(slowest, time.perf_counter() - began)
        if number == 10:
            flushing = asyncio.create_task(recorder.flush())
            await asyncio.sleep(0)
    assert slowest < 0.2
    assert (recorder.written, recorder.dropped) == (0, 30)
    stuck.released.set()
    await flushing
    await recorder.flush()
    assert (recorder.written, recorder.dropped) == (50, 30)
    recorder.embedded([window(80)], vectors[80])
    await recorder.flush()
    assert sum(len(s) for s in Folder(tmp_path).segments()) == 51


async def test_a_full_disk_is_told_once_and_writing_goes_on_after_it(tmp_path, caplog):
    recorder = Recorder(Writer(Folder(tmp_path), 1e5, 1e12), lambda w, _: kind(w.source))
    caplog.set_level(logging.INFO)
    one = embedding(1)[None].astype(np.float32)
    recorder.embedded([window(0)], one)
    await recorder.flush()
    shutil.rmtree(tmp_path / "hall")
    (tmp_path / "hall").write_text("in the way")
    for number in (4000, 4001):
        recorder.embedded([window(number)], one)
        await recorder.flush()
    (tmp_path / "hall").unlink()
    recorder.embedded([window(4002)], one)
    await recorder.flush()
    assert (recorder.written, recorder.dropped) == (2, 2)
    told = [(record.levelname, record.message.split(":")[0]) for record in caplog.records]
    assert told == [
        ("WARNING", "the history can't be written"),
        ("INFO", "the history is being written again"),
    ]


def newest_first(folder):
    """A kill at the full hour may leave a segment without a window."""
    return [place.stem for place in reversed(Folder(folder).places())]


@pytest.mark.real
async def test_what_was_flushed_survives_kill_9_at_random_moments(tmp_path):
    dice = random.Random(11)
    log = tmp_path / "log"
    folder = tmp_path / "history"
    number = 0
    with ForkServer() as server:
        for _ in range(KILLS):
            pid = server.start("history_writer:write", folder, number, output=log)
            while not log.stat().st_size:
                assert is_alive(pid)
                await asyncio.sleep(0.002)
            await asyncio.sleep(dice.uniform(0.0, 0.06))
            os.kill(pid, signal.SIGKILL)
            while is_alive(pid):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            promised = [
                int(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")
            ][-1]
            newest = next(s for s in map(Segment.open, newest_first(folder)) if s.span)
            # A kill between two writes may leave windows that were not promised; the next go after them.
            number = max(promised, int(newest.span[1] - BEGAN) + 1)
            assert number - promised <= 20
    segments = list(Folder(folder).segments())
    assert len(segments) == len(Folder(folder).places()), "a segment can't be read"
    kept = Rows.join([part for segment in segments for part in segment.blocks()])
    times = (kept.end_times - BEGAN).astype(int)
    assert len(np.unique(times)) == len(times)
    assert times.tolist() == list(range(len(times))), "a flushed window is missing"
    for place in random.Random(3).sample(range(len(times)), 300):
        np.testing.assert_array_equal(kept.embeddings[place], embedding(times[place]))
    assert all(segment.damaged() == 0 for segment in segments)
    assert len(times) > KILLS * 20
