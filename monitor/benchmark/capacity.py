"""How many sources a configuration's encoder carries on this machine; imports only what the encoder does."""

from __future__ import annotations

from collections.abc import Callable

from monitor.benchmark.parts import Sound, Stopwatch, Way
from monitor.config import Config

Tell = Callable[[str], None]


def capacity(config: Config, tell: Tell = lambda _: None, repeats: int = 7) -> float:
    """Return how many sources a configuration's encoder keeps up with, at its hop and in full batches."""
    tell(f"measuring {config.encoder.model}")
    way = Way.load(config.encoder, [config])
    hop_seconds = config.windows.hop_seconds
    sound = Sound(config.windows.window_seconds, hop_seconds, way.encoder.rate_hz)
    watch = Stopwatch()
    sources = min(config.encoder.max_batch, 16)
    for turn in range(repeats + 1):
        if turn == 1:
            watch = Stopwatch()
        way.time("", sound.windows(sources, turn), watch)
    milliseconds = watch.median("", sources) + watch.median("", sources, len(config.events))
    return 1000.0 * sources / milliseconds * hop_seconds
