"""What one encoder leaves in the memory of a process of its own: run by `bench`, prints megabytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from monitor.config import EncoderConfig
from monitor.encoders import load_encoder
from monitor.types import Window

MEGABYTE = 1_000_000


def main() -> None:
    """Load, embed texts and sounds, and print the resident set's size; the configuration is the argument."""
    encoder = load_encoder(EncoderConfig.model_validate_json(sys.argv[1]))
    encoder.embed_text([f"the sound of thing number {number}" for number in range(20)])
    noise = np.random.default_rng(0).standard_normal(2 * encoder.rate_hz).astype(np.float32)
    for turn in range(4):
        windows = [Window(f"{n}", turn, encoder.rate_hz, noise, 0.0, 2.0, -20.0) for n in range(16)]
        encoder.embed_audio(windows)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    sys.stdout.write(f"{pages * os.sysconf('SC_PAGE_SIZE') / MEGABYTE}\n")


if __name__ == "__main__":
    main()
