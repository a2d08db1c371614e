"""One hour of one source's embeddings on disk: an append-only pair of files, and the events told meanwhile.

Plain files, because they measured best. 36,000 windows of 783 numbers, appended one at a time as a live
source does, then scored against eight prompts, on one thread of a busy machine:

    format                        append (CPU)   bytes a window   read and score, cold / warm   installs
    this                               6.0 us           1,594               1.21 / 0.88 s            -
    SQLite, a row a window            34.7 us           2,069               1.36 / 0.72 s            -
    Arrow stream, a batch a window    28.7 us           1,856               3.52 / 3.13 s       170 MB
    Parquet by the hour               24.8 us           1,583               2.22 / 1.99 s       170 MB
    the same with zstd                20.5 us           1,432               2.25 / 2.58 s       170 MB
    Lance, a commit a minute          11.5 us           1,580               1.65 / 1.18 s       390 MB

Parquet and Lance lose what isn't committed yet (a commit of Lance takes 5 ms and leaves a version behind), so
they would need a second, crash-safe format for the newest minutes; compression saves a tenth.

`<name>.rows`     a line of JSON (`Kind`), then a record of 28 bytes a window, little-endian
`<name>.vectors`  the embeddings, float16, in the order of the rows that have one
`<name>.events`   a line of JSON for each start and end

Vectors are written before the rows that name them, and a row carries a checksum of itself and its vector:
whatever a crash tears is at the end, and is cut off when the segment is read.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from monitor.history.told import erase_events
from monitor.history.values import HalfArray, Kind, Rows

ROWS, VECTORS, EVENTS = ".rows", ".vectors", ".events"
_UNFINISHED = ".head"

_ROW = np.dtype(
    [("end_time", "<f8"), ("level_dbfs", "<f8"), ("vector", "<i4"), ("flags", "<u4"), ("check", "<u4")]
)
_CHECKED_BYTES = 24
_BEGINS, _ERASED = 1, 2
_BLOCK_ROWS = 1024


class SegmentWriter:
    """Appends to a new segment; blocking. Raises OSError, after which the segment takes no more."""

    def __init__(self, stem: Path, kind: Kind) -> None:
        """Make the files; raises FileExistsError where the segment is there already."""
        self.stem = stem
        self.kind = kind
        self.synced = False
        """Whether nothing was appended since the last `sync`."""
        self._vectors_written = 0
        with contextlib.ExitStack() as undo:
            self._vectors = _made(file_of(stem, VECTORS), undo)
            self._rows = _made(file_of(stem, _UNFINISHED), undo)
            _write_all(self._rows, kind.header())
            # Whatever is a segment by its name has a head.
            file_of(stem, _UNFINISHED).rename(file_of(stem, ROWS))
            undo.pop_all()

    def append(self, heard: Rows) -> None:
        """Write windows; those without an embedding take a row only."""
        has_vector: NDArray[np.bool_] = np.any(heard.embeddings, axis=1)
        vectors = np.ascontiguousarray(heard.embeddings[has_vector], dtype="<f2")
        rows = np.zeros(len(heard), dtype=_ROW)
        rows["end_time"] = heard.end_times
        rows["level_dbfs"] = heard.levels_dbfs
        rows["vector"] = np.where(has_vector, self._vectors_written + np.cumsum(has_vector) - 1, -1)
        rows["flags"] = np.where(heard.begins, _BEGINS, 0)
        of_row = iter(vectors)
        for row, full in zip(rows, has_vector, strict=True):
            row["check"] = _checksum(row, next(of_row).tobytes() if full else b"")
        self.synced = False
        _write_all(self._vectors, vectors.tobytes())
        _write_all(self._rows, rows.tobytes())
        self._vectors_written += len(vectors)

    def sync(self) -> None:
        """Have what was appended on the disk, so that a power cut leaves it there."""
        os.fdatasync(self._vectors)
        os.fdatasync(self._rows)
        self.synced = True

    def close(self) -> None:
        """Close the files; they are whole after every `append`."""
        os.close(self._vectors)
        os.close(self._rows)


def _made(path: Path, undo: contextlib.ExitStack) -> int:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    undo.callback(path.unlink, missing_ok=True)
    undo.callback(os.close, file)
    return file


class Segment:
    """Reads a segment, which may still be written to: what was there when it was opened; blocking."""

    def __init__(self, stem: Path, kind: Kind, rows: NDArray[np.void]) -> None:
        self.stem = stem
        self.kind = kind
        self._vector_bytes = 2 * kind.dimension
        self._vectors_path = file_of(stem, VECTORS)
        self._rows = self._whole(rows)

    @classmethod
    def open(cls, stem: Path) -> Self | None:
        """Open a segment; None where its head can't be read, or it is gone."""
        try:
            with file_of(stem, ROWS).open("rb") as file:
                kind, rows, _ = _read_rows(file)
            return None if kind is None else cls(stem, kind, rows)
        except FileNotFoundError:
            return None

    def _whole(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Leave out the torn end, and what was erased."""
        there = self._vectors_path.stat().st_size // self._vector_bytes
        missing = np.flatnonzero(rows["vector"] >= there)
        if len(missing):
            rows = rows[: missing[0]]
        with self._vectors_path.open("rb") as vectors:
            while len(rows) and not self._intact(rows[-1], vectors.fileno()):
                rows = rows[:-1]
        kept: NDArray[np.void] = rows[rows["flags"] & _ERASED == 0]
        return kept

    def _intact(self, row: np.void, vectors: int) -> bool:
        index = int(row["vector"])
        vector = os.pread(vectors, self._vector_bytes, index * self._vector_bytes) if index >= 0 else b""
        return _checksum(row, vector) == int(row["check"])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def span(self) -> tuple[float, float] | None:
        """Beginning of the first window and end of the last; None where there is none."""
        if not len(self._rows):
            return None
        times = self._rows["end_time"]
        return float(times.min()) - self.kind.window_seconds, float(times.max())

    @property
    def embedded(self) -> int:
        """Windows that have an embedding."""
        return int((self._rows["vector"] >= 0).sum())

    def damaged(self) -> int:
        """Read everything and count the windows whose checksum is wrong, as a failing disk makes them."""
        with self._vectors_path.open("rb") as vectors:
            return sum(not self._intact(row, vectors.fileno()) for row in self._rows)

    def blocks(self, rows: int = _BLOCK_ROWS, *, quiet: bool = True) -> Iterator[Rows]:
        """Read the windows, at most so many at once; without `quiet`, those that have an embedding."""
        wanted = self._rows if quiet else self._rows[self._rows["vector"] >= 0]
        with self._vectors_path.open("rb", buffering=0) as vectors:
            for first in range(0, len(wanted), rows):
                part = wanted[first : first + rows]
                yield Rows(
                    part["end_time"],
                    part["level_dbfs"],
                    (part["flags"] & _BEGINS).astype(bool),
                    self._embeddings(part["vector"], vectors.fileno()),
                )

    def _embeddings(self, places: NDArray[np.int32], vectors: int) -> HalfArray:
        full = places >= 0
        count = int(full.sum())
        # They stand in the order of their rows, and only a segment's beginning is ever erased.
        start, length = int(places[full][0]) if count else 0, count * self._vector_bytes
        data = os.pread(vectors, length, start * self._vector_bytes).ljust(length, b"\0")
        read = np.frombuffer(data, dtype="<f2").reshape(count, self.kind.dimension)
        if count == len(places):
            return read
        spread = np.zeros((len(places), self.kind.dimension), dtype="<f2")
        spread[full] = read
        return spread


def erase(stem: Path, before: float) -> int:
    """Overwrite the windows and events before a time with nothing, in place; return how many windows.

    Whoever appends to the segment meanwhile isn't disturbed.
    """
    with (
        file_of(stem, ROWS).open("r+b", buffering=0) as file,
        file_of(stem, VECTORS).open("r+b", buffering=0) as vectors,
    ):
        kind, rows, start = _read_rows(file)
        early = np.flatnonzero((rows["end_time"] < before) & (rows["flags"] & _ERASED == 0))
        if kind is None or not len(early):
            return 0
        # A clock that was set back must not leave a hole: everything up to the last early one goes.
        gone = rows[: early[-1] + 1].copy()
        erased = int((gone["flags"] & _ERASED == 0).sum())
        vectors.write(bytes((int(gone["vector"].max()) + 1) * 2 * kind.dimension))
        gone[:] = np.array((0.0, 0.0, -1, _ERASED, 0), dtype=_ROW)
        gone["check"] = _checksum(gone[0], b"")
        os.pwrite(file.fileno(), gone.tobytes(), start)
        os.fsync(vectors.fileno())
        os.fsync(file.fileno())
    erase_events(file_of(stem, EVENTS), before)
    return erased


def file_of(stem: Path, suffix: str) -> Path:
    """Return the path of one of a segment's files."""
    return stem.with_name(stem.name + suffix)


def read_kind(stem: Path) -> Kind | None:
    """Read what a segment is of; None where that can't be read, or it is gone."""
    try:
        with file_of(stem, ROWS).open("rb") as file:
            return Kind.of_header(file.readline())
    except FileNotFoundError:
        return None


def _read_rows(file: IO[bytes]) -> tuple[Kind | None, NDArray[np.void], int]:
    """Read the head and the rows that are there in full; and where these begin."""
    data = file.read()
    start = data.find(b"\n") + 1
    count = (len(data) - start) // _ROW.itemsize
    return Kind.of_header(data[:start]), np.frombuffer(data, _ROW, count, start), start


def remove(stem: Path) -> None:
    """Delete a segment's files; the rows first, which make it one."""
    for suffix in (ROWS, VECTORS, EVENTS, _UNFINISHED):
        file_of(stem, suffix).unlink(missing_ok=True)


def size_of(stem: Path) -> int:
    """Return the bytes of a segment's files; what has gone meanwhile has none."""
    total = 0
    for suffix in (ROWS, VECTORS, EVENTS):
        try:
            total += file_of(stem, suffix).stat().st_size
        except FileNotFoundError:
            continue
    return total


def _checksum(row: np.void, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(row.tobytes()[:_CHECKED_BYTES]))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
