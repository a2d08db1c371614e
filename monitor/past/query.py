"""What is sought, as an event that nobody has configured: its score is the answer's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.config import Config, EncoderConfig, EventConfig, MicrophoneSource, WindowsConfig
from monitor.errors import ConfigError, SourceError
from monitor.heads import Head
from monitor.scoring import Scorer

_NAME = "sought"


@dataclass(frozen=True, slots=True)
class Query:
    """A sound in words or by examples, or both."""

    words: Sequence[str] = ()
    """Wordings of the same sound; they are averaged."""
    negatives: Sequence[str] = ()
    """What it must not be taken for, in words."""
    examples: Sequence[Path] = ()
    """Recordings of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query that has been embedded."""

    head: Head
    """Of one event."""
    encoder: str
    """Identity of the encoder whose embeddings can answer it."""


def query_config(query: Query, base: Config) -> Config:
    """Return `base` with the query as its only event."""
    event = EventConfig.model_construct(
        prompts=tuple(query.words), negatives=tuple(query.negatives), examples=tuple(query.examples)
    )
    return base.model_copy(
        update={
            "events": {_NAME: event},
            "scoring": "independent",
            "privacy": Config.model_fields["privacy"].default,
        }
    )


def plain_config(model: str, window_seconds: float, hop_seconds: float) -> Config:
    """Return what is asked with where no configuration is given: the default background."""
    base = Config(sources={_NAME: MicrophoneSource()}, events={_NAME: EventConfig(prompts=(_NAME,))})
    windows = WindowsConfig(window_seconds=window_seconds, hop_seconds=hop_seconds)
    return base.model_copy(update={"encoder": EncoderConfig(model=model), "windows": windows})


async def embed_query(query: Query, base: Config, scorer: Scorer) -> Question:
    """Embed a query with `base`'s encoder and background, on the thread that owns the model.

    Nothing of what `scorer` scores with changes. With CLAP the text tower is read from disk for it, seconds
    in which a live monitor scores nothing; the built-in encoder takes a millisecond. Raises EncoderError, and
    SourceError for an example that can't be used.
    """
    try:
        prepared = await scorer.prepare(query_config(query, base))
    except ConfigError as error:
        raise SourceError("; ".join(line.split(": ", 1)[1] for line in error.lines)) from None
    return Question(prepared.head, prepared.encoder.identity)
