"""Models that turn sounds and words into embeddings of one space."""

from __future__ import annotations

from monitor.config import EncoderConfig
from monitor.types import Encoder


def load_encoder(config: EncoderConfig) -> Encoder:
    """Load the configured model, in the thread that is going to own it; raises EncoderError."""
    if config.model == "compact":
        from monitor.encoders.compact import CompactEncoder  # noqa: PLC0415 - leaves `check` quick

        return CompactEncoder.load(config)
    from monitor.encoders.clap import ClapEncoder  # noqa: PLC0415 - loading torch takes seconds

    return ClapEncoder.load(config)
