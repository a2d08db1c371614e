"""Example recordings and unrelated sounds, as embeddings. Blocking: for threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from monitor.config import Config
from monitor.errors import ConfigError, SourceError, in_words
from monitor.pcm import frozen, level_dbfs
from monitor.prototypes import AudioPrototype, normalise
from monitor.sources.file import Decoder
from monitor.types import FloatArray, Window

MAX_SECONDS = 30.0
"""Of an example, after trimming; the rest isn't heard."""
_FRAME_SECONDS = 0.05
_QUIET_DB = 30.0
"""Frames this much quieter than the loudest count as silence at the ends."""
_MARGIN_SECONDS = 0.1
_SILENCE_DBFS = -70.0
_UNRELATED = 48
_UNRELATED_SEED = 20


class Ear(Protocol):
    """As much of an encoder as hears."""

    @property
    def rate_hz(self) -> int:
        """Of the windows that it takes."""

    def embed_audio(self, windows: Sequence[Window]) -> FloatArray:
        """Return unit-length embeddings, shape (len(windows), D); zero rows for undefined audio."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is still the same."""

    path: Path
    changed_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Look at the file; raises OSError."""
        status = path.stat()
        return cls(path, status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, slots=True)
class Heard:
    """Embeddings kept from one configuration to the next; `window_seconds` must be the same."""

    window_seconds: float
    unrelated: FloatArray | None = None
    """Shape (M, D), once an event has examples."""
    examples: Mapping[Stamp, FloatArray] = field(default_factory=dict)
    """Each (D,)."""


def hear(config: Config, encoder: Ear, known: Heard | None) -> tuple[Heard, dict[str, AudioPrototype]]:
    """Embed what is new and learn every event's prototype; raises ConfigError where a file can't be used."""
    window_seconds = config.windows.window_seconds
    if known is None or known.window_seconds != window_seconds:
        known = Heard(window_seconds)
    if not any(event.examples for event in config.events.values()):
        return known, {}
    unrelated = embed_unrelated(encoder, window_seconds) if known.unrelated is None else known.unrelated
    kept: dict[Stamp, FloatArray] = {}
    rows: dict[str, list[FloatArray]] = {}
    failures = []
    for name, index, path in _examples(config):
        try:
            stamp = Stamp.of(path)
            if stamp not in kept and stamp in known.examples:
                kept[stamp] = known.examples[stamp]
            elif stamp not in kept:
                kept[stamp] = embed(encoder, read(path, encoder.rate_hz)[0], window_seconds)
            rows.setdefault(name, []).append(kept[stamp])
        except OSError as error:
            says = f"{str(path)!r} can't be read: {in_words(error)}"
            failures.append(f"events.{name}.examples[{index}]: {says}")
        except SourceError as error:
            failures.append(f"events.{name}.examples[{index}]: {error}")
    if failures:
        raise ConfigError(*failures)
    learned = {name: AudioPrototype.of(np.stack(vectors), unrelated) for name, vectors in rows.items()}
    return Heard(window_seconds, unrelated, kept), learned


def _examples(config: Config) -> Iterator[tuple[str, int, Path]]:
    for name, event in config.events.items():
        yield from ((name, index, path) for index, path in enumerate(event.examples))


def read(path: Path, rate_hz: int, most_seconds: float = MAX_SECONDS) -> tuple[FloatArray, float]:
    """Return a file's sound without the silence at its ends, and the file's whole length in seconds.

    Raises SourceError where it can't be read, or holds silence only.
    """
    with closing(Decoder(path, rate_hz, 0.5)) as decoder:
        blocks, last, seconds = [], False, 0.0
        # An hour bounds the memory that a file given by mistake can take.
        while not last and seconds < 3_600.0:
            samples, last = decoder.read()
            blocks.append(samples)
            seconds += len(samples) / rate_hz
    samples = trimmed(np.concatenate(blocks), rate_hz, most_seconds)
    if not samples.size:
        raise SourceError(f"{str(path)!r} holds silence only; record the sound again, louder")
    return samples, seconds


def trimmed(samples: FloatArray, rate_hz: int, most_seconds: float = MAX_SECONDS) -> FloatArray:
    """Leave out silence at the ends, and what is beyond `most_seconds`; empty where there is silence only."""
    size = int(_FRAME_SECONDS * rate_hz)
    frames = [samples[start : start + size] for start in range(0, len(samples), size)]
    levels = np.array([level_dbfs(frame) for frame in frames])
    loud = np.flatnonzero(levels >= max(levels.max(initial=-np.inf) - _QUIET_DB, _SILENCE_DBFS))
    if not loud.size:
        return samples[:0]
    margin = int(_MARGIN_SECONDS * rate_hz)
    start = max(0, int(loud[0]) * size - margin)
    end = min((int(loud[-1]) + 1) * size + margin, start + int(most_seconds * rate_hz))
    return samples[start:end]


def embed(encoder: Ear, samples: FloatArray, window_seconds: float) -> FloatArray:
    """Return the mean embedding of a sound's windows, shape (D,), unit length."""
    return normalise(
        normalise(encoder.embed_audio(list(cut(samples, encoder.rate_hz, window_seconds)))).mean(axis=0)
    )


def cut(samples: FloatArray, rate_hz: int, window_seconds: float) -> Iterator[Window]:
    """Cut at every half window; a sound shorter than a window stands at its end, after silence."""
    size = round(window_seconds * rate_hz)
    if len(samples) < size:
        samples = np.pad(samples, (size - len(samples), 0))
    for start in range(0, len(samples) - size + 1, size // 2):
        yield Window(
            source="<examples>",
            position=start,
            rate_hz=rate_hz,
            samples=frozen(samples[start : start + size].astype(np.float32)),
            start_time=start / rate_hz,
            end_time=(start + size) / rate_hz,
            level_dbfs=level_dbfs(samples[start : start + size]),
        )


def embed_unrelated(encoder: Ear, window_seconds: float) -> FloatArray:
    """Embed made-up sounds of all kinds, none anything in particular, shape (M, D)."""
    rng = np.random.default_rng(_UNRELATED_SEED)
    sounds = [unrelated_sound(rng, encoder.rate_hz, window_seconds) for _ in range(_UNRELATED)]
    windows = [
        replace(window, source=f"<unrelated {index}>")
        for index, sound in enumerate(sounds)
        for window in cut(sound, encoder.rate_hz, window_seconds)
    ]
    return normalise(encoder.embed_audio(windows))


def unrelated_sound(rng: np.random.Generator, rate_hz: int, seconds: float) -> FloatArray:
    """Make noise or a tone of random colour, steady, throbbing or in bursts, at a random level."""
    size = round(seconds * rate_hz)
    times = np.arange(size) / rate_hz
    frequencies = np.fft.rfftfreq(size, 1 / rate_hz)
    colour_db = np.interp(
        np.log2(np.maximum(frequencies, 20.0) / 20.0), np.linspace(0, 10, 8), rng.uniform(-40, 0, 8)
    )
    spectrum = 10 ** (colour_db / 20) * np.exp(2j * np.pi * rng.random(len(frequencies)))
    sound = np.fft.irfft(spectrum, size)
    sound /= sound.std()
    if rng.random() < 0.5:
        pitch_hz = 60.0 * 2.0 ** rng.uniform(0.0, 6.5)
        sweep = 1.0 + rng.uniform(0.0, 0.03) * np.sin(2 * np.pi * rng.uniform(2.0, 9.0) * times)
        phase = 2 * np.pi * np.cumsum(pitch_hz * sweep) / rate_hz
        decay = rng.uniform(0.3, 1.5)
        partials = (n for n in range(1, 12) if 1.1 * n * pitch_hz < rate_hz / 2)
        tone = np.sum([np.sin(n * phase) * n**-decay for n in partials], axis=0)
        sound = tone / tone.std() + sound * 10 ** (rng.uniform(-40.0, 0.0) / 20)
    shape = rng.random()
    if shape < 1 / 3:
        bursts = np.zeros(size)
        for onset in rng.uniform(0.0, seconds, rng.integers(1, 20)):
            since = times - onset
            bursts += np.where(since >= 0, np.exp(-np.maximum(since, 0) / 10 ** rng.uniform(-2.3, -0.5)), 0.0)
        sound *= bursts
    elif shape < 2 / 3:
        sound *= 1.0 + np.sin(2 * np.pi * 10 ** rng.uniform(-0.3, 1.5) * times)
    sound *= 10 ** (rng.uniform(-40.0, -3.0) / 20) / max(float(np.abs(sound).max()), 1e-9)
    sound += rng.standard_normal(size) * 10 ** (rng.uniform(-75.0, -45.0) / 20)
    return sound.astype(np.float32)
