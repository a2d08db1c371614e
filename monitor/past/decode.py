"""Any recording as blocks of mono sound: by libsndfile where that reads it, else by ffmpeg."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from monitor.errors import SourceError
from monitor.pcm import sanitised
from monitor.sources.file import Decoder
from monitor.types import FloatArray

_LIBSNDFILES = "aif aifc aiff au caf flac mp3 oga ogg opus rf64 snd w64 wav wave"
_FFMPEGS = (
    "3gp aac ac3 amr ape avi dts flv gsm m4a m4b m4v mka mkv mov mp1 mp2 mp4 mpc mpeg mpg mts ogv ra spx ts "
    "tta voc webm wma wmv wv"
)
_BY_LIBSNDFILE = frozenset(f".{name}" for name in _LIBSNDFILES.split())
SUFFIXES = _BY_LIBSNDFILE | {f".{name}" for name in _FFMPEGS.split()}
"""Of files that are taken for recordings."""

_BLOCK_SECONDS = 5.0


def decode(path: Path, rate_hz: int) -> Iterator[FloatArray]:
    """Yield the sound of a file, mono; blocking.

    Raises SourceError where nothing reads it, or it is damaged: then what was read before has been yielded.
    """
    decoder = None
    if path.suffix.lower() in _BY_LIBSNDFILE:
        try:
            decoder = Decoder(path, rate_hz, _BLOCK_SECONDS)
        except SourceError as error:
            refused = error
    else:
        refused = SourceError(f"{str(path)!r} can't be read")
    if decoder is None:
        yield from _by_ffmpeg(path, rate_hz, refused)
        return
    with closing(decoder):
        last = False
        while not last:
            samples, last = decoder.read()
            if samples.size:
                yield samples


def _by_ffmpeg(path: Path, rate_hz: int, refused: SourceError) -> Iterator[FloatArray]:
    command = [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file"),
        *("-i", f"file:{path}", "-map", "0:a:0", "-ac", "1", "-rematrix_maxval", "1", "-ar", str(rate_hz)),
        *("-f", "f32le", "pipe:1"),
    ]
    size = 4 * int(_BLOCK_SECONDS * rate_hz)
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError:
            raise SourceError(f"{refused}; ffmpeg could perhaps, but isn't installed") from None
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        heard = False
        with process, process.stdout as stdout:
            try:
                while data := stdout.read(size):
                    heard = True
                    yield sanitised(np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4").astype(np.float32))
            finally:
                process.kill()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    if process.returncode > 0 or not heard:
        reason = lines[-1].removeprefix(f"file:{path}: ") if lines else "it holds no sound"
        raise SourceError(f"{str(path)!r}: ffmpeg says: {reason[:200]}")
