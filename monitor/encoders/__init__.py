"""Models that turn sounds and words into embeddings of one space."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.config import EncoderConfig
from monitor.types import Encoder


def load_encoder(config: EncoderConfig) -> Encoder:
    """Load the configured model, in the thread that is going to own it; raises EncoderError."""
    if config.model == "compact":
        from monitor.encoders.compact import CompactEncoder  # noqa: PLC0415 - leaves `check` quick

        return CompactEncoder.load(config)
    from monitor.encoders.clap import ClapEncoder  # noqa: PLC0415 - loading torch takes seconds

    return ClapEncoder.load(config)


def model_folder(model: str) -> Path | None:
    """Return the folder that is named, there or not; None where only the hub can have the model."""
    folder = Path(os.path.expanduser(model))  # noqa: PTH111 - unlike pathlib's, leaves ~nobody as it is
    is_path = folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1
    # Unlike pathlib's, false for names too long as well.
    return folder if is_path or os.path.isdir(folder) else None  # noqa: PTH112
