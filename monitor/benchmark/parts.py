"""What the benchmark measures with: made-up sounds and events, a stopwatch, an encoder with its heads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from monitor.config import Config, EncoderConfig
from monitor.encoders import load_encoder
from monitor.heads import Head, prompts_of
from monitor.types import Encoder, FloatArray, Window

THINGS = (
    "dog cat baby siren train bus bird frog saw drill engine kettle door bell rain wind fire clock horn bike"
)
DOINGS = "barking crying passing ringing howling"
TURNS = 50


def labels_of(events: int) -> list[str]:
    """Make up labels of four words, 100 of them different."""
    texts = [f"a {thing} {doing}" for doing in DOINGS.split() for thing in THINGS.split()]
    return [texts[index % len(texts)] for index in range(events)]


def config_of(events: int, windows: Mapping[str, float] | None = None) -> Config:
    """Make up a configuration of so many events."""
    named = {f"event_{index}": text for index, text in enumerate(labels_of(events))}
    return Config.model_validate(
        {"sources": {"room": {}}, "events": named, "windows": windows or {}, "mqtt": None}
    )


@dataclass(frozen=True)
class Way:
    """An encoder, and a head for each of some configurations."""

    encoder: Encoder
    heads: Mapping[int, Head]
    """By number of events."""

    @classmethod
    def load(cls, config: EncoderConfig, wanted: Sequence[Config]) -> Self:
        """Load the encoder and embed the texts of all configurations."""
        encoder = load_encoder(config)
        texts = list(dict.fromkeys(text for each in wanted for text in prompts_of(each)))
        embedded = dict(zip(texts, encoder.embed_text(texts), strict=True))
        heads = {len(each.events): Head.build(each, embedded, encoder.logit_scale) for each in wanted}
        return cls(encoder, heads)

    def time(self, name: str, windows: Sequence[Window], watch: Stopwatch) -> FloatArray:
        """Score windows with every head, on the clock; return the scores of the largest."""
        rows: FloatArray = watch.time(name, len(windows), call=lambda: self.encoder.embed_audio(windows))
        scores = rows
        for count, head in self.heads.items():
            scores = watch.time(name, len(windows), count, call=_bound(head.score, rows))
        return scores


def _bound(function: Callable[[Any], Any], argument: object) -> Callable[[], Any]:
    return lambda: function(argument)


@dataclass
class Stopwatch:
    """Takes the time of named calls."""

    milliseconds: dict[tuple[str | int, ...], list[float]] = field(default_factory=dict)

    def time(self, *name: str | int, call: Callable[[], Any]) -> Any:
        """Make a call, wait until its result is there, and return it."""
        begin = time.perf_counter()
        result = call()
        if getattr(result, "is_cuda", False):
            import torch  # noqa: PLC0415 - it is there already

            torch.cuda.synchronize()
        self.milliseconds.setdefault(name, []).append(1000.0 * (time.perf_counter() - begin))
        return result

    def median(self, *name: str | int) -> float:
        """Return the median of a call's times, in milliseconds."""
        return statistics.median(self.milliseconds[name])


class Sound:
    """Made-up sound of many sources, in windows that advance by a hop at every turn, for TURNS turns."""

    def __init__(self, window_seconds: float, hop_seconds: float, rate_hz: int) -> None:
        self._length = round(window_seconds * rate_hz)
        self._hop = round(hop_seconds * rate_hz)
        self._rate_hz = rate_hz
        noise = np.random.default_rng(0).standard_normal(self._length + 2 * TURNS * self._hop)
        self._noise = (0.1 * noise).astype(np.float32)

    def windows(self, sources: int, turn: int) -> list[Window]:
        """Return the newest window of each of `sources` sources."""
        return [self._window(f"{sources}_{source}", turn, 7 * source % TURNS) for source in range(sources)]

    def _window(self, source: str, turn: int, ahead: int) -> Window:
        first = (turn + ahead) * self._hop
        samples = self._noise[first : first + self._length]
        start = turn * self._hop / self._rate_hz
        end = start + self._length / self._rate_hz
        return Window(source, turn * self._hop, self._rate_hz, samples, start, end, level_dbfs=-20.0)
