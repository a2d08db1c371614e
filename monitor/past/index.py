"""Folders of recordings as segments beside each other, to be searched like the history.

A segment a recording, named by its path's digest and put in place when it is whole: what is there is done,
and a run that was killed goes on with what isn't.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from monitor.config import Config
from monitor.errors import SourceError, in_words
from monitor.history.folder import Folder
from monitor.history.segment import ROWS, VECTORS, Segment, SegmentWriter, file_of, read_kind, remove
from monitor.history.values import HistoryError, Kind, Rows
from monitor.past.decode import SUFFIXES, decode
from monitor.types import AudioBlock, Encoder, Window
from monitor.windows import WindowCutter

NAME = ".sound-monitor-index"
"""Of the folder, in the folder of recordings."""
_PART = "part"
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Recording:
    """A file to be searched, as it is now."""

    path: Path
    name: str
    """Path within the folder."""
    size: int
    changed_ns: int


@dataclass(slots=True)
class Indexed:
    """What a run has done."""

    added: int = 0
    unchanged: int = 0
    removed: int = 0
    seconds: float = 0.0
    """Of sound, newly embedded."""
    failures: list[str] = field(default_factory=list)
    """A line for each file that was left out."""


class Index:
    """The segments of a folder of recordings; blocking."""

    def __init__(self, recordings: Path, path: Path | None = None) -> None:
        self.recordings = recordings
        self.path = path or recordings / NAME

    @classmethod
    def at(cls, path: Path) -> Self:
        """Find the index of a folder of recordings, or one that was put elsewhere."""
        return cls(path) if (path / NAME).is_dir() else cls(path, path)

    def segments(
        self,
        since: float = -math.inf,
        until: float = math.inf,
        sources: Collection[str] | None = None,
    ) -> Iterator[Segment]:
        """Open every recording's segment, or those named; raises HistoryError where there is no index.

        In the order of their paths. Times are within each recording, and all have theirs from 0 on.
        """
        del since, until
        kinds = self._kinds()
        if not kinds:
            raise HistoryError(f"{str(self.recordings)!r} has no index; make it with `sound-monitor index`")
        for stem in sorted(kinds, key=lambda stem: kinds[stem].source):
            segment = None if sources and kinds[stem].source not in sources else Segment.open(stem)
            if segment is not None:
                yield segment

    def count(
        self, since: float = -math.inf, until: float = math.inf, sources: Collection[str] | None = None
    ) -> int:
        """Count the recordings."""
        del since, until, sources
        return sum(not path.name.startswith(_PART) for path in self.path.glob(f"*{ROWS}"))

    def newest_kind(self) -> Kind:
        """Return what the index is made of; raises HistoryError where there is none."""
        return next(self.segments()).kind

    def events(
        self,
        since: float = -math.inf,
        until: float = math.inf,
        sources: Collection[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Nothing was told of recordings."""
        del since, until, sources
        return []

    def _kinds(self) -> dict[Path, Kind]:
        stems = [path.with_suffix("") for path in self.path.glob(f"*{ROWS}")]
        found = {stem: read_kind(stem) for stem in stems if not stem.name.startswith(_PART)}
        return {stem: kind for stem, kind in found.items() if kind is not None}

    def update(self, config: Config, encoder: Encoder, tell: Callable[[str, int, int], None]) -> Indexed:
        """Embed what is new or has changed, forget what has gone; `tell` gets name, bytes done and in all.

        Raises HistoryError where the index can't be written.
        """
        done = Indexed()
        files = list(find_recordings(self.recordings))
        with Folder(self.path).lock():
            there = self._kinds()
            total = sum(file.size for file in files)
            wanted = {self._stem(file.name) for file in files}
            for stem in set(there) - wanted:
                remove(stem)
                done.removed += 1
            seen = 0
            for file in files:
                tell(file.name, seen, total)
                stem = self._stem(file.name)
                known = there.get(stem)
                if known is not None and known == _kind(file, config, encoder, known.dimension):
                    done.unchanged += 1
                else:
                    self._add(file, stem, config, encoder, done)
                seen += file.size
                tell(file.name, seen, total)
        return done

    def _stem(self, name: str) -> Path:
        return self.path / hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]

    def _add(self, file: Recording, stem: Path, config: Config, encoder: Encoder, done: Indexed) -> None:
        remove(stem)
        try:
            with self._writing(stem) as part:
                seconds = _write(file, part, config, encoder)
        except SourceError as error:
            done.failures.append(str(error))
        except OSError as error:
            raise HistoryError(f"{str(self.path)!r} can't be written: {in_words(error)}") from None
        else:
            done.added += 1
            done.seconds += seconds

    @contextmanager
    def _writing(self, stem: Path) -> Iterator[Path]:
        """Give the name of a segment that takes its place when it is whole."""
        part = self.path / _PART
        remove(part)
        try:
            yield part
        except BaseException:
            remove(part)
            raise
        # The rows last: they make it a segment.
        for suffix in (VECTORS, ROWS):
            file_of(part, suffix).replace(file_of(stem, suffix))


def find_recordings(folder: Path) -> Iterator[Recording]:
    """Find every recording below a folder, by its suffix, in order; raises SourceError where it is none."""
    if not folder.is_dir():
        raise SourceError(f"{str(folder)!r} is no folder; give one with recordings in it")
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
            continue
        try:
            status = path.stat()
        except OSError:
            continue
        if path.is_file():
            yield Recording(path, str(inside), status.st_size, status.st_mtime_ns)


def _kind(file: Recording, config: Config, encoder: Encoder, dimension: int) -> Kind:
    return Kind(
        source=file.name,
        encoder=encoder.identity,
        model=config.encoder.model,
        window_seconds=config.windows.window_seconds,
        hop_seconds=config.windows.hop_seconds,
        dimension=dimension,
        size=file.size,
        changed_ns=file.changed_ns,
    )


def _write(file: Recording, stem: Path, config: Config, encoder: Encoder) -> float:
    """Embed a recording and return its length in seconds; raises SourceError for one that is damaged."""
    writer: SegmentWriter | None = None
    lengths: list[int] = []
    try:
        for windows in _batches(file, config, encoder.rate_hz, lengths):
            embeddings = encoder.embed_audio(windows).astype(np.float16)
            if writer is None:
                writer = SegmentWriter(stem, _kind(file, config, encoder, embeddings.shape[1]))
            rows = Rows(
                np.array([window.end_time for window in windows]),
                np.array([window.level_dbfs for window in windows]),
                np.array([window.position == 0 for window in windows]),
                embeddings,
            )
            writer.append(rows)
        if writer is None:
            raise SourceError(f"{str(file.path)!r} holds no sound; take it out")
        writer.sync()
    finally:
        if writer is not None:
            writer.close()
    return sum(lengths) / encoder.rate_hz


def _batches(file: Recording, config: Config, rate_hz: int, lengths: list[int]) -> Iterator[Sequence[Window]]:
    windows = _windows(file, config, rate_hz, lengths)
    while batch := list(itertools.islice(windows, _AT_ONCE)):
        yield batch


def _windows(file: Recording, config: Config, rate_hz: int, lengths: list[int]) -> Iterator[Window]:
    """Cut a recording; `lengths` gets those of the blocks that were read, in samples."""
    cutter = WindowCutter(file.name, rate_hz, config.windows.window_seconds, config.windows.hop_seconds)
    position = 0
    for samples in decode(file.path, rate_hz):
        yield from cutter.push(AudioBlock(file.name, position, rate_hz, samples, position / rate_hz))
        position += len(samples)
        lengths.append(len(samples))
    yield from cutter.flush()
