"""The folder of clips: FLAC files, there whole or not at all, the oldest removed beyond the limits."""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import soundfile

from monitor.clip_names import CLIP_NAME
from monitor.clips.tape import Pcm16
from monitor.errors import SinkError

_PART = ".part"


class ClipStore:
    """One folder, written to by one process; every method reads or writes the disk."""

    def __init__(self, directory: Path, keep_days: float, max_bytes: int) -> None:
        """Make the folder and count what is in it; raises SinkError where that can't be done."""
        self._directory = directory
        self._keep_seconds = keep_days * 86_400.0
        self._max_bytes = max_bytes
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in self._files(_PART):
                part.unlink()
            found = [(each.stat(), each) for each in self._files()]
        except OSError as error:
            raise self._refused(error) from None
        found.sort(key=lambda pair: pair[0].st_mtime)
        self._clips = deque((stat.st_mtime, stat.st_size, path) for stat, path in found)
        self.total_bytes = sum(size for _, size, _ in self._clips)

    def write(self, name: str, samples: Pcm16, rate_hz: int, now: float) -> None:
        """Write a clip, then remove what is too old or too much; raises SinkError where the disk refuses."""
        path = self._directory / PurePosixPath(name)
        part = path.with_name(path.name + _PART)
        # Not straight to the file: what the disk refuses would be a traceback from within libsndfile.
        flac = io.BytesIO()
        soundfile.write(flac, samples, rate_hz, format="FLAC", subtype="PCM_16")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(flac.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            size = len(flac.getbuffer())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise self._refused(error) from None
        self._clips.append((now, size, path))
        self.total_bytes += size
        self.prune(now)

    def prune(self, now: float) -> None:
        """Remove the oldest clips until the rest is young and small enough."""
        while self._clips and (
            self._clips[0][0] < now - self._keep_seconds or self.total_bytes > self._max_bytes
        ):
            _, size, path = self._clips.popleft()
            self.total_bytes -= size
            with contextlib.suppress(OSError):  # someone has removed it already, or else it stays for good
                path.unlink()
            with contextlib.suppress(OSError):  # a day with clips left in it stays
                path.parent.rmdir()

    def _files(self, ending: str = "") -> Iterator[Path]:
        """Find clips, and no file that someone else has put there."""
        for path in self._directory.glob(f"*/*/*.flac{ending}"):
            if CLIP_NAME.fullmatch(path.relative_to(self._directory).as_posix().removesuffix(ending)):
                yield path

    def _refused(self, error: OSError) -> SinkError:
        reason = error.strerror or str(error)
        return SinkError(
            f"clips.directory {str(self._directory)!r} can't be written: {reason}; "
            "let this user write there, make room, or name another folder"
        )
