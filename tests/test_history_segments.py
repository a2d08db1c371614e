"""A segment of the history on disk: nothing torn is read, and what is erased is gone."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from history_kit import BEGAN, rows, written
from history_writer import DIMENSION, embedding, kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.history.segment import ROWS, VECTORS, Segment, SegmentWriter, erase, file_of
from monitor.history.told import append_event, erase_events, read_events
from monitor.history.values import Kind, Rows


def read(stem, block=1024):
    return Rows.join(list(Segment.open(stem).blocks(block)))


def assert_same(left, right):
    np.testing.assert_array_equal(left.end_times, right.end_times)
    np.testing.assert_array_equal(left.levels_dbfs, right.levels_dbfs)
    np.testing.assert_array_equal(left.begins, right.begins)
    np.testing.assert_array_equal(left.embeddings, right.embeddings)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_what_is_appended_is_read_again_quiet_windows_too(tmp_path, block):
    parts = rows(0, 5, quiet={1, 2}, begins={0}), rows(5, 6, quiet={5}), rows(6, 20, begins={9})
    assert_same(read(written(tmp_path / "a.b", *parts), block), Rows.join(parts))


@pytest.mark.parametrize("step", ["monitor.history.segment._write_all", "pathlib.Path.rename"])
def test_a_segment_that_cannot_be_begun_leaves_no_file_and_none_open(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(step, full)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match="No space left"):
        SegmentWriter(tmp_path / "a", kind())
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert not list(tmp_path.iterdir())


def test_what_is_there_of_another_segment_is_not_taken_away(tmp_path):
    written(tmp_path / "a", rows(0, 3))
    with pytest.raises(FileExistsError):
        SegmentWriter(tmp_path / "a", kind())
    assert len(read(tmp_path / "a")) == 3


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
