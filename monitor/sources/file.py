"""A recording as a source: in real time as if it were live, or as fast as it is taken."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from monitor.config import FileSource
from monitor.errors import SourceError, in_words
from monitor.pcm import Resampler, downmix, sanitised
from monitor.sources.playback import Pacer, Playback
from monitor.types import AudioBlock, FloatArray

_LIVE_BLOCK_SECONDS = 0.1
# Several live blocks: going to a thread and back costs more than the reading.
_READ_SECONDS = 0.5
_RATES_HZ = range(1_000, 1_000_001)
_MAX_CHANNELS = 64
# libsndfile shortens a cut-off WAV to what is there, and says so here only; a stream's header has 2**32 - 1.
_CUT_WAV = re.compile(r"^data : (?P<said>\d+) \(should be (?P<there>\d+)\)", re.MULTILINE)
_STREAMED_BYTES = 0x7FFF_0000


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        status = path.stat()
    except OSError as error:
        raise _error(path, f"can't be read: {in_words(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise _error(path, "is a folder; name the recordings in it")
    if not stat.S_ISREG(status.st_mode):
        raise _error(path, "is not a file; name a recording")
    if not status.st_size:
        raise _error(path, "is empty; was it copied whole?")
    try:
        # As bytes: soundfile can't write every name that a file may have as text.
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".") or "unknown"
        remedy = "convert it (ffmpeg -i IT new.wav)"
        raise _error(path, f"is no WAV, FLAC, OGG or MP3 that can be read: {reason}; {remedy}") from None
    refusal = None
    if not file.frames:
        refusal = "holds no sound; record it again"
    elif file.samplerate not in _RATES_HZ:
        refusal = f"has a sample rate of {file.samplerate} Hz; convert it to 48000 Hz"
    elif file.channels > _MAX_CHANNELS:
        refusal = f"has {file.channels} channels; convert it to one"
    if refusal is not None:
        file.close()
        raise _error(path, refusal)
    return file


def _error(path: Path, text: str) -> SourceError:
    return SourceError(f"{str(path)!r} {text}")


def duration_seconds(path: Path) -> float:
    """Return the length that a sound file states; raises SourceError where it can't be used."""
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


class Decoder:
    """Reads a sound file block by block as mono at rate_hz; blocking, for use in threads."""

    def __init__(self, path: Path, rate_hz: int, block_seconds: float) -> None:
        self._path = path
        self._file = _opened(path)
        self._lock = threading.Lock()
        self._resampler = Resampler(self._file.samplerate, rate_hz)
        self._block_frames = max(1, round(block_seconds * self._file.samplerate))
        self._read_frames = 0

    def read(self) -> tuple[FloatArray, bool]:
        """Return the next samples, and whether the file has ended with them; then it starts again.

        Raises SourceError where the file is damaged, and at its end when it is shorter than it says; MP3 and
        cut-off OGG files say nothing of that.
        """
        with self._lock:
            try:
                frames = self._file.read(self._block_frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                raise _error(self._path, f"is damaged after {self._read_seconds:.1f} s; replace it") from None
            if len(frames):
                self._read_frames += len(frames)
                return self._resampler.process(downmix(sanitised(frames))), False
            self._check_length()
            self._read_frames = 0
            self._file.seek(0)
            return self._resampler.flush(), True

    def close(self) -> None:
        """Close the file, after a read that another thread may still be in."""
        with self._lock:
            self._file.close()

    def _check_length(self) -> None:
        if self._file.format == "MP3":  # states no length; libsndfile's is guessed from the file's size
            return
        whole = self._file.frames
        if cut := _CUT_WAV.search(self._file.extra_info):
            there, said = int(cut["there"]), int(cut["said"])
            if 0 < there < said < _STREAMED_BYTES:
                whole = whole * said // there
        if self._read_frames < whole:
            read, said = self._read_seconds, whole / self._file.samplerate
            raise _error(
                self._path, f"ends after {read:.1f} s of {said:.1f} s: cut off or damaged; replace it"
            )

    @property
    def _read_seconds(self) -> float:
        return self._read_frames / float(self._file.samplerate)


class Recording:
    """Yields a file's sound once, or for ever with `loop`; a gap is marked at each new round.

    anchor is the Unix time of the first sample; by default, when the source is opened. In real time, a pause
    of over a second (the machine slept) is a gap too. A block's samples are the file's at `position`, modulo
    its length. Raises SourceError where the file is missing, no sound, or damaged.
    """

    problem: str | None = None
    overflows: int = 0

    def __init__(self, name: str, config: FileSource, rate_hz: int, *, anchor: float | None = None) -> None:
        self.name = name
        self._config = config
        self._rate_hz = rate_hz
        self._anchor = anchor

    async def __aenter__(self) -> Self:
        config = self._config
        self._decoder = await asyncio.to_thread(Decoder, config.path, self._rate_hz, _READ_SECONDS)
        self._block = round(_LIVE_BLOCK_SECONDS * self._rate_hz) if config.realtime else sys.maxsize
        self._read = np.zeros(0, dtype=np.float32)
        anchor = time.time() if self._anchor is None else self._anchor
        self._playback = Playback(self.name, self._rate_hz, anchor, Pacer() if config.realtime else None)
        self._gap = self._seam = self._ended = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._decoder.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioBlock:
        while not self._read.size:
            if self._ended:
                raise StopAsyncIteration
            self._read, last = await asyncio.to_thread(self._decoder.read)
            self._gap = self._seam
            self._seam = last or (self._gap and not self._read.size)
            self._ended = last and not self._config.loop
        size = min(self._block, self._read.size)
        block, self._read = self._read[:size], self._read[size:]
        gap, self._gap = self._gap, False
        return await self._playback.block(block, gap=gap)
