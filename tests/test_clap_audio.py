"""The rewritten audio tower against transformers' own forward."""

import copy
import logging

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_clap import randomise, tiny_audio
from transformers import ClapAudioModelWithProjection
from transformers.models.clap import modeling_clap

from monitor.encoders.clap_audio import AudioTower, OriginalTower, build_tower

FRAMES = 1001
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Two are many times slower where the machine is busy."""
    torch.set_num_threads(1)


def original(**changes) -> ClapAudioModelWithProjection:
    return randomise(ClapAudioModelWithProjection(tiny_audio(**changes)))


def log_mels(batch: int, mels: int = 64, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(batch, 1, mels, generator=generator)
    return 12.0 * level + 15.0 * torch.randn(batch, FRAMES, mels, generator=generator) - 40.0


def embed(tower, log_mel: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return F.normalize(tower(log_mel), dim=-1)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 16])
def test_equals_transformers_at_every_batch_size(batch: int) -> None:
    model = original()
    tower = build_tower(copy.deepcopy(model), FRAMES)
    assert isinstance(tower, AudioTower)
    log_mel = log_mels(batch)
    theirs = embed(OriginalTower(model), log_mel)
    torch.testing.assert_close(embed(tower, log_mel), theirs, atol=1e-5, rtol=0)
    if batch > 1:
        assert (theirs[0] @ theirs[1:].T).max() < 0.99, "the model must tell sounds apart to show anything"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"depths": [1, 3, 2, 4], "num_attention_heads": [2, 2, 4, 8]}, id="odd depths"),
        pytest.param(
            {"depths": [2, 2, 3], "num_attention_heads": [1, 2, 4]}, id="several windows at the end"
        ),
        pytest.param({"window_size": 4}, id="small windows"),
        pytest.param({"window_size": 16, "depths": [2, 2, 2]}, id="large windows"),
        pytest.param({"num_mel_bins": 32}, id="eight folds"),
        pytest.param({"qkv_bias": False}, id="no bias"),
        pytest.param({"enable_patch_layer_norm": False}, id="no norm of patches"),
        pytest.param(
            {"patch_embeds_hidden_size": 24, "mlp_ratio": 2.0, "projection_hidden_act": "gelu"},
            id="other widths",
        ),
        pytest.param({"patch_size": 8, "patch_stride": [8, 8], "depths": [2, 2]}, id="large patches"),
    ],
)
def test_equals_transformers_in_every_geometry(changes: dict) -> None:
    if "num_attention_heads" not in changes:
        changes = changes | {"num_attention_heads": [1, 2, 2, 4][: len(changes.get("depths", "four"))]}
    model = original(**changes)
    tower = build_tower(copy.deepcopy(model), FRAMES)
    assert isinstance(tower, AudioTower)
    log_mel = log_mels(3, changes.get("num_mel_bins", 64))
    torch.testing.assert_close(embed(tower, log_mel), embed(OriginalTower(model), log_mel), atol=1e-5, rtol=0)


def test_a_batch_equals_its_windows_one_by_one() -> None:
    tower = build_tower(original(), FRAMES)
    log_mel = log_mels(7)
    together = embed(tower, log_mel)
    apart = torch.cat([embed(tower, log_mel[index : index + 1]) for index in range(7)])
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"patch_size": 8, "patch_stride": [4, 4]}, id="overlapping patches"),
        pytest.param(
            {
                "spec_size": 224,
                "patch_stride": [4, 4],
                "depths": [2],
                "num_attention_heads": [1],
                "num_mel_bins": 56,
                "window_size": 16,
            },
            id="padded windows",
        ),
    ],
)
def test_an_unknown_structure_runs_as_transformers_has_it_with_one_warning(changes: dict, caplog) -> None:
    model = original(**changes)
    frames = min(FRAMES, 4 * model.config.spec_size)
    caplog.set_level(logging.WARNING)
    tower = build_tower(model, frames)
    assert isinstance(tower, OriginalTower)
    [record] = caplog.records
    assert "isn't one that can be sped up" in record.message
    log_mel = log_mels(2, model.config.num_mel_bins)[:, :frames]
    with torch.inference_mode():
        torch.testing.assert_close(tower(log_mel), model(input_features=log_mel[:, None]).audio_embeds)


def test_a_tower_that_calculates_otherwise_is_noticed(monkeypatch, caplog) -> None:
    """As a later release of transformers might: every part is there, and one does something else."""
    forward = modeling_clap.ClapAudioOutput.forward
    monkeypatch.setattr(modeling_clap.ClapAudioOutput, "forward", lambda self, x: 1.01 * forward(self, x))
    assert isinstance(build_tower(original(), FRAMES), OriginalTower)
    assert "its results differ" in caplog.text


def test_frames_that_would_be_stretched_silently_are_refused() -> None:
    tower = build_tower(original(), FRAMES)
    with pytest.raises(ValueError, match="301 frames where 1001 belong"):
        tower(log_mels(1)[:, :301])


@pytest.mark.parametrize(("dtype", "drift"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_half_precision_drifts_little(dtype: torch.dtype, drift: float) -> None:
    tower = build_tower(original(), FRAMES)
    log_mel = log_mels(8)
    exact = embed(tower, log_mel)
    tower.place(CPU, dtype)
    cosines = (embed(tower, log_mel) * exact).sum(dim=1)
    assert 1.0 - cosines.min() < drift
    assert not torch.equal(embed(tower, log_mel), exact)
