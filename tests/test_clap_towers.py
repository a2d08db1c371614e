"""Towers filled from a checkpoint's safetensors, against transformers' models read from the same files."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_clap import make_clap, randomise, tiny_audio, tiny_text
from transformers import (
    ClapAudioModelWithProjection,
    ClapConfig,
    ClapModel,
    ClapTextModelWithProjection,
)

from monitor.encoders.clap_audio import AudioTower, Tower
from monitor.encoders.clap_checkpoint import open_checkpoint
from monitor.encoders.clap_text import TextTower
from monitor.encoders.clap_towers import read_audio, read_text

BY_TRANSFORMERS = "which takes 120 MB more memory"
TEXTS = ["a dog", "a crying baby, a siren, glass breaking", ""]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Two are many times slower where the machine is busy."""
    torch.set_num_threads(1)


def save(folder: Path, *, audio: dict | None = None, text: dict | None = None, **both: Any) -> Path:
    """Save a checkpoint of changed settings; a projection's are those of both towers."""
    config = ClapConfig(
        audio_config=tiny_audio(**(audio or {})).to_dict(),
        text_config=tiny_text().to_dict() | (text or {}),
        **({"projection_dim": 32} | both),
    )
    return make_clap(folder, config=config)


def audio_of(folder: Path) -> Tower:
    return read_audio(open_checkpoint(str(folder)))[0]


def embedded(folder: Path, tower: Tower) -> tuple[torch.Tensor, torch.Tensor]:
    """Ours and transformers'."""
    model = ClapAudioModelWithProjection.from_pretrained(folder).eval()
    log_mel = 15.0 * torch.randn(2, 1001, 64, generator=torch.Generator().manual_seed(1)) - 40.0
    with torch.inference_mode():
        theirs = model(input_features=log_mel[:, None]).audio_embeds
        return unit(tower(log_mel)), unit(theirs)


def embedded_texts(folder: Path, tower: Any) -> tuple[torch.Tensor, torch.Tensor]:
    model = ClapTextModelWithProjection.from_pretrained(folder).eval()
    tokens = open_checkpoint(str(folder)).tokenizer()(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        ours = tower(tokens["input_ids"], tokens["attention_mask"])
        return unit(ours), unit(model(**tokens).text_embeds)


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def test_the_usual_checkpoint_needs_none_of_transformers_models(tmp_path: Path) -> None:
    """They, and the parts of torch that they ask for, would be a fifth of the daemon's memory.

    Some releases of transformers ask for those for their tokenizers already.
    """
    script = (
        "import sys, numpy as np\n"
        "from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor\n"
        "before = set(sys.modules)\n"
        "from monitor.config import EncoderConfig\n"
        "from monitor.encoders import load_encoder\n"
        "from monitor.types import Window\n"
        "encoder = load_encoder(EncoderConfig(model=sys.argv[1], device='cpu'))\n"
        "encoder.embed_text(['a dog barking'])\n"
        "sound = np.ones(48000, np.float32)\n"
        "encoder.embed_audio([Window('room', 0, 48000, sound, 0.0, 1.0, 0.0)])\n"
        "heavy = {'transformers.modeling_utils', 'torch._dynamo', 'sympy', 'scipy'}\n"
        "heavy &= set(sys.modules) - before\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script, str(make_clap(tmp_path / "tiny"))], check=True)


@pytest.mark.parametrize(
    ("audio", "both"),
    [
        pytest.param({}, {}, id="as usual"),
        pytest.param({"layer_norm_eps": 0.1}, {}, id="epsilon"),
        pytest.param({"qkv_bias": False, "mlp_ratio": 2.5}, {}, id="no bias, narrow layers"),
        pytest.param({"enable_patch_layer_norm": False}, {}, id="no norm of patches"),
        pytest.param({"depths": [1, 3, 2], "num_attention_heads": [2, 2, 4]}, {}, id="other depths"),
        pytest.param({"patch_size": [4, 4], "patch_stride": 4, "window_size": 4}, {}, id="other notation"),
        pytest.param({"hidden_act": "relu"}, {"projection_hidden_act": "gelu"}, id="other activations"),
    ],
)
def test_an_audio_tower_equals_transformers_in_every_geometry(
    tmp_path: Path, caplog, audio: dict, both: dict
) -> None:
    caplog.set_level(logging.INFO)
    folder = save(tmp_path / "model", audio=audio, **both)
    tower = audio_of(folder)
    assert isinstance(tower, AudioTower)
    assert not caplog.messages
    torch.testing.assert_close(*embedded(folder, tower), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("text", "both"),
    [
        pytest.param({}, {}, id="as usual"),
        pytest.param({"layer_norm_eps": 0.1}, {}, id="epsilon"),
        pytest.param({"num_hidden_layers": 3, "num_attention_heads": 8}, {}, id="other depth and heads"),
        pytest.param({"intermediate_size": 48, "type_vocab_size": 2}, {}, id="other sizes"),
        pytest.param({"hidden_act": "relu"}, {"projection_hidden_act": "gelu"}, id="other activations"),
    ],
)
def test_a_text_tower_equals_transformers_in_every_geometry(tmp_path: Path, text: dict, both: dict) -> None:
    folder = save(tmp_path / "model", text=text, **both)
    tower = read_text(open_checkpoint(str(folder)))
    assert isinstance(tower, TextTower)
    ours, theirs = embedded_texts(folder, tower)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert (theirs @ theirs.T)[0, 1] < 0.999, "the model must tell texts apart to show anything"


def test_towers_of_another_structure_are_read_by_transformers(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    folder = save(tmp_path / "model", audio={"hidden_act": "silu"}, text={"hidden_act": "silu"})
    texts = read_text(open_checkpoint(str(folder)))
    assert not isinstance(texts, TextTower)
    torch.testing.assert_close(*embedded_texts(folder, texts), atol=1e-6, rtol=0)
    torch.testing.assert_close(*embedded(folder, audio_of(folder)), atol=1e-5, rtol=0)
    told = [message for message in caplog.messages if message.endswith(BY_TRANSFORMERS)]
    assert [("activation 'silu'" in message) for message in told] == [True, True]


@pytest.mark.parametrize("name", ["audio_model.audio_encoder.gate.weight", "text_model.gate.weight"])
def test_weights_that_are_not_known_are_left_to_transformers(tmp_path: Path, caplog, name: str) -> None:
    """As of a structure that a later release may bring."""
    caplog.set_level(logging.INFO)
    folder = save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {name: torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})
    checkpoint = open_checkpoint(str(folder))
    read_audio(checkpoint)
    read_text(checkpoint)
    [message] = [message for message in caplog.messages if message.endswith(BY_TRANSFORMERS)]
    assert f"1 of its weights are missing, unknown or of another size, {name} for one" in message


@pytest.mark.parametrize("kind", ["several files", "half precision", "nothing that can be counted"])
def test_weights_are_read_as_they_are_published(tmp_path: Path, caplog, kind: str) -> None:
    caplog.set_level(logging.INFO)
    folder = save(tmp_path / "model")
    file = folder / "model.safetensors"
    weights = load_file(file)
    if kind == "several files":
        file.unlink()
        model = randomise(ClapModel(ClapConfig.from_pretrained(folder)))
        model.save_pretrained(folder, max_shard_size="300KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 1
        assert not file.exists()
    elif kind == "half precision":
        halves = {name: each.half() if each.is_floating_point() else each for name, each in weights.items()}
        save_file(halves, file, {"format": "pt"})
    else:
        kept = {name: each for name, each in weights.items() if not name.endswith("_ids")}
        assert len(kept) < len(weights)
        save_file(kept, file, {"format": "pt"})
    checkpoint = open_checkpoint(str(folder))
    audio, scale = read_audio(checkpoint)
    texts = read_text(checkpoint)
    assert not caplog.messages
    assert scale == pytest.approx(1 / 0.07, rel=1e-3)
    whole = save(tmp_path / "whole")
    tolerance = 0.01 if kind == "half precision" else 1e-5
    torch.testing.assert_close(embedded(whole, audio)[0], embedded(whole, audio)[1], atol=tolerance, rtol=0)
    torch.testing.assert_close(*embedded_texts(whole, texts), atol=tolerance, rtol=0)


def test_the_tower_outlives_its_files(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    whole = save(tmp_path / "whole")
    tower = audio_of(folder)
    os.truncate(folder / "model.safetensors", 0)
    torch.testing.assert_close(*embedded(whole, tower), atol=1e-5, rtol=0)
