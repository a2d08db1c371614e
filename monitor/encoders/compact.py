"""The `compact` encoder: the project's own small audio-text model, shipped in the package.

A window's embedding joins two views of it: a direction in the space of sentence embeddings, and its debiased
probabilities of the 527 AudioSet classes; a prompt's joins its direction and the classes it names. One cosine
is then the weighted sum of both matches.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from threadpoolctl import threadpool_limits

from monitor.config import EncoderConfig
from monitor.encoders.compact_net import STEP, CompactNet, NetConfig, unit
from monitor.encoders.compact_text import TextNet
from monitor.errors import EncoderError
from monitor.logmel import LogMel
from monitor.types import FloatArray, Window

WEIGHTS = "compact.safetensors"
TOKENIZER = "tokenizer.json"
CONFIG = "compact.json"
MAX_SOURCES = 512
"""Streams remembered; each holds about 0.1 MB. Beyond it the least recently heard is recomputed."""
MIN_FRAMES = 3
"""Windows with less are repeated up to a second before they are embedded."""
CHECKED_SAMPLES = 4096
"""Samples that a window must share with the one before to count as its continuation."""

LOUDEST = 1e3
"""Samples beyond this, a thousand times full scale, are cut off."""


@dataclass
class _Stream:
    """What is kept of one source: everything that the next window needs besides its own new samples."""

    position: int
    """Of the last window's first sample."""
    end: int
    """Of the sample after the last window's last."""
    tail: FloatArray
    """Last samples of the last window, a copy."""
    first: int
    """Absolute index of `frames[0]`; frame j begins at sample j * STEP * hop of the source's clock."""
    frames: FloatArray
    """(T, frame_width)."""
    state: FloatArray
    """To compute frame `first + T` with, (S,)."""

    @property
    def after(self) -> int:
        """Index of the first frame that isn't computed yet."""
        return self.first + len(self.frames)


@dataclass
class _Piece:
    """Samples still to be turned into frames of one stream."""

    stream: _Stream
    samples: FloatArray
    """(frames * STEP * hop + n_fft - hop,)."""


class CompactEncoder:
    """Embeds sounds and texts in milliseconds of a CPU; overlapping windows cost their new part only."""

    rate_hz = 48000
    max_window_seconds = 10.0

    device = "cpu"

    def __init__(
        self, weights: bytes, tokenizer: str, config: str, encoder: EncoderConfig | None = None
    ) -> None:
        """Build from the contents of the three files; `load` takes them from the package."""
        encoder = encoder or EncoderConfig()
        threads = encoder.threads
        threadpool_limits(threads, user_api="blas")
        settings = json.loads(config)
        tensors = load_tensors(weights)
        self.identity = f"compact-{settings['version']}:{hashlib.sha256(weights).hexdigest()[:8]}"
        self.logit_scale = float(settings["logit_scale"])
        net, audio = NetConfig(**settings["net"]), _part(tensors, "audio.")
        if encoder.runtime == "openvino":
            from monitor.encoders.compact_openvino import CompactGraph  # noqa: PLC0415 - an extra

            self.net: CompactNet = CompactGraph(net, audio, threads, encoder.dtype)
        else:
            self.net = CompactNet(net, audio)
        self.log_mel = LogMel()
        self._debias = tensors["prior"] ** np.float32(-settings["prior_power"])
        self._evidence_power = float(settings["evidence_power"])
        self._class_share = float(settings["class_share"])
        self._class_power = float(settings["class_power"])
        # A copy: a view would keep all of the file in memory.
        table, scales = tensors["table"].copy(), tensors["scales"].astype(np.float32)
        self._text = TextNet(tokenizer, table, scales, _part(tensors, "text."))
        self._step = STEP * self.log_mel.settings.hop
        self._edge = self.log_mel.settings.n_fft - self.log_mel.settings.hop
        self._most_frames = int(self.max_window_seconds * self.rate_hz) // self._step + 2
        self._streams: OrderedDict[str, _Stream] = OrderedDict()

    @classmethod
    def load(cls, encoder: EncoderConfig | None = None) -> Self:
        """Load the shipped weights, to run as the configuration says."""
        folder = resources.files("monitor.encoders") / "weights"
        try:
            files = [(folder / name).read_bytes() for name in (WEIGHTS, TOKENIZER, CONFIG)]
            return cls(files[0], files[1].decode(), files[2].decode(), encoder)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise EncoderError(f"the compact encoder can't be loaded: {error}") from error

    def embed_text(self, prompts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(prompts), D); any text is allowed, the empty one too."""
        direction, logits = self._text(prompts)
        likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        return self._join(direction, unit(likelihood**self._class_power))

    def embed_audio(self, windows: Sequence[Window]) -> FloatArray:
        """Return unit-length embeddings, shape (len(windows), D); zero rows for digital silence and NaN.

        Frames lie on a grid of 0.16 s of the source's sample clock; a window is pooled from those that lie
        wholly inside it. A window that begins later than its source's last one and overlaps it goes on from
        its frames, which know up to 1.75 s of what came before; any other is computed with zeros before it.
        """
        summaries = np.zeros((len(windows), 2 * self.net.config.frame_width), dtype=np.float32)
        heard = np.array([_heard(window.samples) for window in windows], dtype=bool)
        for turn in _turns(windows):
            self._advance([windows[i] for i in turn])
            for i in turn:
                summaries[i] = self._summary(windows[i])
        direction, logits = self.net.head(summaries)
        power: FloatArray = np.exp(-self._evidence_power * np.logaddexp(np.float32(0), -logits))
        embeddings = self._join(direction, unit(power * self._debias))
        embeddings[~heard] = 0.0
        return embeddings

    def forget(self) -> None:
        """Drop everything that is kept of the sources heard so far."""
        self._streams.clear()

    def _join(self, direction: FloatArray, evidence: FloatArray) -> FloatArray:
        share = self._class_share
        joined = np.concatenate([direction * (1.0 - share) ** 0.5, evidence * share**0.5], axis=1)
        return unit(joined).astype(np.float32)

    def _advance(self, windows: Sequence[Window]) -> None:
        """Compute the missing frames of windows of different sources, equal lengths together."""
        groups: dict[int, list[_Piece]] = {}
        for window in windows:
            if window.rate_hz != self.rate_hz:
                raise EncoderError(f"the compact encoder hears {self.rate_hz} Hz, not {window.rate_hz}")
            stream = self._stream(window)
            begin = stream.after * self._step
            count = (window.position + len(window.samples) - begin - self._edge) // self._step
            if count > 0:
                start = begin - window.position
                samples = window.samples[start : start + count * self._step + self._edge]
                groups.setdefault(count, []).append(_Piece(stream, samples))
        for pieces in groups.values():
            samples = _finite(np.stack([piece.samples for piece in pieces]))
            states = np.stack([piece.stream.state for piece in pieces])
            frames = self.net.frames(self.log_mel.frames(samples), states)
            for row, piece in enumerate(pieces):
                stream = piece.stream
                known = np.concatenate([stream.frames, frames[row]])
                stream.first += max(0, len(known) - self._most_frames)
                stream.frames = known[-self._most_frames :]
                stream.state = states[row].copy()

    def _stream(self, window: Window) -> _Stream:
        """Return the source's stream, moved on to `window`; a new one unless `window` continues it."""
        stream = self._streams.get(window.source)
        end = window.position + len(window.samples)
        if stream is None or not self._continues(stream, window):
            stream = _Stream(
                position=window.position,
                end=end,
                tail=window.samples[:0],
                first=-(-window.position // self._step),
                frames=np.zeros((0, self.net.config.frame_width), dtype=np.float32),
                state=self.net.start(1)[0],
            )
        moved = replace(
            stream, position=window.position, end=end, tail=window.samples[-CHECKED_SAMPLES:].copy()
        )
        self._streams[window.source] = moved
        self._streams.move_to_end(window.source)
        while len(self._streams) > MAX_SOURCES:
            self._streams.popitem(last=False)
        return moved

    def _continues(self, stream: _Stream, window: Window) -> bool:
        """Tell whether the window lies later on the same clock, nothing missing, common samples the same."""
        end = window.position + len(window.samples)
        first = -(-window.position // self._step)
        if (
            window.position <= stream.position
            or end < stream.end
            or window.position > stream.after * self._step
        ):
            return False
        if first < stream.first:
            return False
        common = min(len(stream.tail), stream.end - window.position)
        if common <= 0:
            return False
        offset = stream.end - common - window.position
        return np.array_equal(window.samples[offset : offset + common], stream.tail[-common:])

    def _summary(self, window: Window) -> FloatArray:
        """Pooled frames of a window whose stream is up to date, (2 * frame_width,)."""
        stream = self._streams[window.source]
        begin = -(-window.position // self._step) - stream.first
        frames = stream.frames[begin:]
        if len(frames) < MIN_FRAMES:
            samples = _finite(np.resize(np.append(window.samples, np.float32(0)), self.rate_hz))
            mel = self.log_mel.frames(samples[None])
            frames = self.net.frames(mel[:, : mel.shape[1] // STEP * STEP], self.net.start())[0]
        return self.net.summary(frames)


def _part(tensors: dict[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    return {
        name.removeprefix(prefix): tensor.astype(np.float32)
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _heard(samples: FloatArray) -> bool:
    """Tell whether all samples are finite, and one isn't zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        energy = samples @ samples
    if 0.0 < energy < np.inf:
        return True
    return bool(np.isfinite(samples).all() and samples.any())  # so loud or soft that squares don't tell


def _finite(samples: FloatArray) -> FloatArray:
    """Replace what isn't a number by silence, and bound the rest, so that no square overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.vdot(samples, samples) < LOUDEST**2:
            return samples
    return np.clip(np.nan_to_num(samples, nan=0.0), -LOUDEST, LOUDEST)


def _turns(windows: Sequence[Window]) -> list[list[int]]:
    """Deal indices into turns that hold each source once, in the given order within a source."""
    turns: list[list[int]] = []
    count: dict[str, int] = {}
    for i, window in enumerate(windows):
        turn = count.get(window.source, 0)
        count[window.source] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(i)
    return turns
