"""The audio tower as an OpenVINO graph, against transformers' own forward."""

import copy
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_clap import make_clap, randomise, tiny_audio
from transformers import ClapAudioModelWithProjection

from monitor.config import EncoderConfig
from monitor.encoders import load_encoder
from monitor.encoders.clap_audio import OriginalTower, Tower, build_tower
from monitor.errors import EncoderError
from monitor.types import Window

openvino = pytest.importorskip("openvino")

from monitor.encoders.clap_openvino import OpenvinoTower, on_openvino  # noqa: E402

FRAMES = 1001


def original(**changes) -> ClapAudioModelWithProjection:
    torch.set_num_threads(1)
    return randomise(ClapAudioModelWithProjection(tiny_audio(**changes)))


def graph_of(model: ClapAudioModelWithProjection, dtype: str = "float32", frames: int = FRAMES) -> Tower:
    return on_openvino(build_tower(copy.deepcopy(model), frames), 1, dtype, model.config.num_mel_bins)


def log_mels(batch: int, mels: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    level = torch.randn(batch, 1, mels, generator=generator)
    return 12.0 * level + 15.0 * torch.randn(batch, FRAMES, mels, generator=generator) - 40.0


def embed(tower: Tower, log_mel: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return F.normalize(tower(log_mel), dim=-1)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="shifted windows"),
        pytest.param({"depths": [1, 3, 2, 4], "num_attention_heads": [2, 2, 4, 8]}, id="odd depths"),
        pytest.param(
            {"depths": [2, 2, 3], "num_attention_heads": [1, 2, 4]}, id="several windows at the end"
        ),
        pytest.param({"window_size": 4}, id="small windows"),
        pytest.param({"qkv_bias": False, "enable_patch_layer_norm": False}, id="no bias, no norm of patches"),
        pytest.param({"hidden_act": "relu"}, id="another activation"),
    ],
)
def test_equals_transformers(changes: dict) -> None:
    model = original(**changes)
    graph = graph_of(model)
    assert isinstance(graph, OpenvinoTower)
    log_mel = log_mels(3)
    theirs = embed(OriginalTower(model), log_mel)
    torch.testing.assert_close(embed(graph, log_mel), theirs, atol=1e-5, rtol=0)
    assert (theirs[0] @ theirs[1:].T).max() < 0.99, "the model must tell sounds apart to show anything"


def test_a_graph_refuses_frames_that_would_be_stretched_and_other_devices() -> None:
    graph = graph_of(original())
    with pytest.raises(ValueError, match="301 frames where 1001 belong"):
        graph(log_mels(1)[:, :301])
    with pytest.raises(ValueError, match="can't be placed on meta"):
        graph.place(torch.device("meta"), torch.float32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "silu"}, "activation SiLU"),
        ({"patch_size": 8, "patch_stride": [4, 4]}, "its structure isn't recognised"),
    ],
)
def test_what_it_does_not_know_stays_with_torch_and_is_told(changes: dict, reason: str, caplog) -> None:
    caplog.set_level(logging.WARNING)
    model = original(**changes)
    tower = graph_of(model)
    assert not isinstance(tower, OpenvinoTower)
    assert f"OpenVINO can't calculate this audio tower ({reason}" in caplog.text
    log_mel = log_mels(2)
    torch.testing.assert_close(embed(tower, log_mel), embed(OriginalTower(model), log_mel), atol=1e-5, rtol=0)


@pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor has no bfloat16",
)
def test_half_precision_drifts_little() -> None:
    model = original()
    log_mel = log_mels(4)
    exact = embed(OriginalTower(model), log_mel)
    cosines = (embed(graph_of(model, "bfloat16"), log_mel) * exact).sum(dim=1)
    assert 1.0 - cosines.min() < 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


def test_the_encoder_gives_the_same_embeddings_on_either_runtime_at_every_batch_size(folder: Path) -> None:
    rng = np.random.default_rng(2)
    sounds = [rng.standard_normal(round(seconds * 48000)).astype(np.float32) for seconds in (2, 3, 10, 2, 5)]
    windows = [
        Window("room", 0, 48000, (0.1**number) * samples, 0.0, 1.0, -20.0)
        for number, samples in enumerate([*sounds, np.zeros(96000, np.float32)])
    ]
    ours = load_encoder(EncoderConfig(model=str(folder), runtime="openvino"))
    expected = load_encoder(EncoderConfig(model=str(folder), device="cpu")).embed_audio(windows)
    assert ours.device == "cpu"
    for size in (1, 2, 3, 6):
        rows = [ours.embed_audio(windows[first : first + size]) for first in range(0, 6, size)]
        np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-5)


def test_a_missing_extra_is_told_with_the_remedy(folder: Path, monkeypatch) -> None:
    for name in ("monitor.encoders.clap_openvino", "monitor.encoders.openvino_graph"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EncoderError) as caught:
        load_encoder(EncoderConfig(model=str(folder), runtime="openvino"))
    assert str(caught.value).startswith("encoder.runtime: openvino: it isn't installed")
    assert "pip install 'sound-monitor[openvino]'" in str(caught.value)
