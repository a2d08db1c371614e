"""Which of some labels a recording sounds like most: what transformers' zero-shot pipeline returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from monitor.errors import ConfigError, SourceError
from monitor.pcm import frozen, level_dbfs
from monitor.prototypes import normalise
from monitor.sources.file import Decoder
from monitor.types import Encoder, FloatArray, Window
from monitor.wording import require_words

PIPELINE_TEMPLATE = "This is a sound of {}."
"""What `pipeline("zero-shot-audio-classification")` makes of a label."""
PLAIN_TEMPLATE = "{}"
WINDOWS_AT_ONCE = 16


def default_template(model: str) -> str:
    """Return the text to put a label into: the pipeline's for CLAP, the label alone for compact."""
    return PLAIN_TEMPLATE if model == "compact" else PIPELINE_TEMPLATE


def classify(
    path: Path, labels: Sequence[str], encoder: Encoder, *, template: str = PLAIN_TEMPLATE
) -> list[tuple[str, float]]:
    """Return (label, probability), best first; the probabilities of the labels add up to 1.

    Up to the encoder's longest window (10 s for CLAP), it is what the pipeline returns. Of a longer recording
    the pipeline takes a random part; here half overlapping windows cover it all, and their embeddings are
    averaged. Raises SourceError where the file can't be read or is silent, ConfigError where the template has
    no place for the label, or a label no words.
    """
    if "{}" not in template:
        msg = f"template: {template!r} has no place for the label; put {{}} there"
        raise ConfigError(msg)
    require_words(labels, "--labels")
    for label, count in Counter(labels).items():
        if count > 1:
            raise ConfigError(f"--labels: {label!r} is there {count} times; keep one")
    texts = encoder.embed_text([template.replace("{}", label) for label in labels])
    logits = texts @ _embedding(path, encoder) * np.float32(encoder.logit_scale)
    weights = np.exp(logits - logits.max())
    scores = weights / weights.sum()
    return [(labels[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]


def _embedding(path: Path, encoder: Encoder) -> FloatArray:
    """Return the mean direction of the windows that cover a recording: (D,)."""
    windows = cover(path, encoder)
    sums = []
    while batch := list(islice(windows, WINDOWS_AT_ONCE)):
        sums.append(encoder.embed_audio(batch).sum(axis=0))
    total: FloatArray = np.stack(sums).sum(axis=0)
    if not total.any():
        msg = f"{str(path)!r} holds nothing but silence"
        raise SourceError(msg)
    return normalise(total)


def cover(path: Path, encoder: Encoder) -> Iterator[Window]:
    """Cut a recording into half overlapping windows; the last one ends with it, a short recording is one."""
    rate_hz = encoder.rate_hz
    length = round(encoder.max_window_seconds * rate_hz)
    hop = length // 2
    before = held = np.zeros(0, dtype=np.float32)
    start = 0
    decoder = Decoder(path, rate_hz, block_seconds=encoder.max_window_seconds)
    with closing(decoder):
        ended = False
        while not ended:
            samples, ended = decoder.read()
            held = np.concatenate([held, samples])
            while len(held) > length:
                yield _window(path, held[:length], start, rate_hz)
                before, held, start = held[:hop], held[hop:], start + hop
    last = np.concatenate([before, held])[-length:]
    yield _window(path, last, start + len(held) - len(last), rate_hz)


def _window(path: Path, samples: FloatArray, position: int, rate_hz: int) -> Window:
    seconds = position / rate_hz
    return Window(
        source=path.name,
        position=position,
        rate_hz=rate_hz,
        samples=frozen(samples),
        start_time=seconds,
        end_time=seconds + len(samples) / rate_hz,
        level_dbfs=level_dbfs(samples),
    )
