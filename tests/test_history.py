"""The history on disk: nothing torn is read, nothing flushed is lost, kinds don't mix, old and large goes."""

import asyncio
import logging
import os
import random
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from forkserver import ForkServer, is_alive
from history_writer import DIMENSION, embedding, kind, window
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.history.folder import Folder, name_at
from monitor.history.segment import ROWS, VECTORS, Segment, SegmentWriter, erase, file_of
from monitor.history.told import append_event, erase_events, read_events
from monitor.history.values import HistoryError, Kind, Rows
from monitor.history.writer import Batch, Writer
from monitor.recorder import Recorder, recording
from monitor.types import Event, Phase, Reason

HOUR = 3600.0
BEGAN = HOUR * 400_000
KILLS = 100


def rows(first, last, quiet=(), begins=()):
    numbers = range(first, last)
    return Rows(
        np.array([BEGAN + n for n in numbers]),
        np.array([-40.0 - n % 7 for n in numbers], np.float32),
        np.array([n in begins for n in numbers]),
        np.array([np.zeros(DIMENSION) if n in quiet else embedding(n) for n in numbers], np.float16),
    )


def written(stem, *parts, of=None):
    writer = SegmentWriter(stem, of or kind())
    for part in parts:
        writer.append(part)
    writer.close()
    return stem


def read(stem, block=1024):
    return Rows.join(list(Segment.open(stem).blocks(block)))


def assert_same(left, right):
    np.testing.assert_array_equal(left.end_times, right.end_times)
    np.testing.assert_array_equal(left.levels_dbfs, right.levels_dbfs)
    np.testing.assert_array_equal(left.begins, right.begins)
    np.testing.assert_array_equal(left.embeddings, right.embeddings)


def batch(first, last, source="hall", **more):
    part = rows(first, last)
    kinds = [kind(source, **more)] * len(part)
    return Batch(kinds, part.end_times, part.levels_dbfs, part.begins, part.embeddings)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_what_is_appended_is_read_again_quiet_windows_too(tmp_path, block):
    parts = rows(0, 5, quiet={1, 2}, begins={0}), rows(5, 6, quiet={5}), rows(6, 20, begins={9})
    assert_same(read(written(tmp_path / "a.b", *parts), block), Rows.join(parts))


def test_levels_of_digital_silence_and_no_rows_at_all_are_fine(tmp_path):
    silent = rows(0, 2, quiet={0, 1})
    silent.levels_dbfs[:] = -np.inf
    assert_same(read(written(tmp_path / "a", silent)), silent)
    assert Segment.open(written(tmp_path / "b")).span is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_segment_torn_anywhere_gives_its_whole_windows_and_nothing_else(tmp_path, kept, kept2, noise):
    whole = rows(0, 12, quiet={3, 4, 11})
    stem = written(tmp_path / "torn", whole)
    try:
        for suffix, share in ((ROWS, kept), (VECTORS, kept2)):
            path = file_of(stem, suffix)
            data = path.read_bytes()
            path.write_bytes(data[: int(share * len(data))] + (b"\xa5" * 30 if noise else b""))
        segment = Segment.open(stem)
        if segment is None:
            assert kept != 1.0
            return
        parts = list(segment.blocks())
        count = len(segment)
        assert_same(Rows.join([*parts, whole.part(0, 0)]), whole.part(0, count))
        if kept == kept2 == 1.0:
            assert count == 12
    finally:
        for suffix in (ROWS, VECTORS):
            file_of(stem, suffix).unlink()


def test_a_flipped_bit_is_found_by_its_checksum(tmp_path):
    stem = written(tmp_path / "a", rows(0, 9))
    with file_of(stem, VECTORS).open("r+b") as file:
        file.seek(4 * 2 * DIMENSION + 7)
        file.write(b"\x5a")
    assert Segment.open(stem).damaged() == 1


def test_a_file_of_another_kind_is_no_segment(tmp_path):
    (tmp_path / "a.rows").write_text("end_time,level\n1,2\n")
    (tmp_path / "a.vectors").write_bytes(b"")
    assert Segment.open(tmp_path / "a") is None
    assert Segment.open(tmp_path / "absent") is None


@given(
    st.builds(
        Kind,
        st.text(max_size=400),
        st.text(),
        st.text(),
        st.floats(0.5, 10),
        st.floats(0.1, 10),
        st.integers(1, 9000),
    )
)
def test_what_a_segment_is_of_is_read_again_whatever_its_names(made):
    assert Kind.of_header(made.header()) == made
    assert Kind.of_header(made.header()[:-1]) is None


def test_erasing_takes_windows_and_events_off_the_disk_while_another_appends(tmp_path):
    stem = tmp_path / "a"
    writer = SegmentWriter(stem, kind())
    writer.append(rows(0, 10, quiet={2}))
    events = file_of(stem, ".events")
    for number in (3, 7):
        append_event(events, {"id": str(number), "started_at": BEGAN + number})
    assert erase(stem, BEGAN + 6) == 6
    writer.append(rows(10, 14))
    writer.close()
    assert_same(read(stem), Rows.join([rows(6, 10), rows(10, 14)]))
    assert [event["id"] for event in read_events(events)] == ["7"]
    vectors = file_of(stem, VECTORS).read_bytes()
    assert embedding(5).tobytes() not in vectors
    assert embedding(6).tobytes() in vectors
    assert b'"3"' not in events.read_bytes()
    assert erase(stem, BEGAN + 6) == 0
    assert Segment.open(stem).damaged() == 0


def test_a_torn_line_of_events_is_left_out(tmp_path):
    path = tmp_path / "a.events"
    append_event(path, {"id": "1", "started_at": 1.0})
    with path.open("ab") as file:
        file.write(b'{"id": "2", "star')
    assert [event["id"] for event in read_events(path)] == ["1"]
    erase_events(tmp_path / "absent.events", 5.0)


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
