"""What the full-size CLAP model leaves in memory; takes a minute, and 0.6 GB of disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_clap import full_tokenizer, make_clap
from transformers import ClapConfig

MEGABYTE = 1 << 20
USE = """
import json, sys, numpy as np, psutil
from monitor.config import EncoderConfig
from monitor.encoders import load_encoder
from monitor.types import Window

def used():
    return psutil.Process().memory_info().rss

samples = np.random.default_rng(0).standard_normal(96000).astype(np.float32)
windows = [Window("room", 0, 48000, samples, 0.0, 2.0, -20.0)] * 16
encoder = load_encoder(EncoderConfig(model=sys.argv[1], device="cpu"))
told = {"loaded": used()}
encoder.embed_text([f"the sound of thing number {number}" for number in range(40)])
told["texts embedded"] = used()
for _ in range(3):
    encoder.embed_audio(windows)
told["sounds embedded"] = used()
encoder.embed_text(["a dog barking"])
told["reloaded"] = used()
print(json.dumps(told))
"""


@pytest.mark.large
@pytest.mark.timeout(600)
def test_the_full_size_model_stays_within_600_megabytes(tmp_path: Path, shared: Path) -> None:
    tokenizer = full_tokenizer(shared / "tokenizer" / "roberta_tokenizer.json")
    folder = make_clap(tmp_path / "full", config=ClapConfig(), tokenizer=tokenizer)
    run = subprocess.run([sys.executable, "-c", USE, str(folder)], capture_output=True, text=True, check=True)
    told = {name: round(size / MEGABYTE) for name, size in json.loads(run.stdout).items()}
    print(told)  # noqa: T201
    assert told["sounds embedded"] < 600
    assert told["texts embedded"] < told["loaded"] + 10
    assert told["reloaded"] < told["sounds embedded"] + 10
