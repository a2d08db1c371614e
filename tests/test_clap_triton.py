"""The audio tower in Triton's kernels against transformers' own forward.

On a GPU; without one, Triton interprets them (see conftest.py).
"""

import copy
import logging
import os

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_clap import randomise, tiny_audio
from transformers import ClapAudioModelWithProjection

from monitor.encoders.clap_audio import AudioTower, OriginalTower, build_tower

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    DEVICE.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1", reason="this GPU can't be used"
)

from monitor.encoders import clap_triton  # noqa: E402
from monitor.encoders.clap_triton import TritonTower, on_triton  # noqa: E402

FRAMES = 1001
SMALL = {"patch_size": 16, "patch_stride": [16, 16], "depths": [2, 2], "num_attention_heads": [1, 2]}


def original(**changes) -> ClapAudioModelWithProjection:
    return randomise(ClapAudioModelWithProjection(tiny_audio(**changes)))


def log_mels(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    level = torch.randn(batch, 1, 64, generator=generator)
    return 12.0 * level + 15.0 * torch.randn(batch, FRAMES, 64, generator=generator) - 40.0


def fused(model: ClapAudioModelWithProjection, dtype: torch.dtype = torch.float32) -> TritonTower:
    tower = on_triton(build_tower(copy.deepcopy(model), FRAMES), DEVICE, dtype, 64)
    assert isinstance(tower, TritonTower)
    return tower


def embed(tower, log_mel: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return F.normalize(tower(log_mel), dim=-1).cpu()


@pytest.mark.parametrize("wide", [False, True], ids=["narrow tiles", "wide tiles"])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 9])
def test_equals_transformers_at_every_batch_size(batch: int, wide: bool, monkeypatch) -> None:
    monkeypatch.setattr(clap_triton, "_reads_shared_memory", lambda _device: wide)
    model = original(**SMALL)
    log_mel = log_mels(batch)
    theirs = embed(OriginalTower(model), log_mel)
    torch.testing.assert_close(embed(fused(model), log_mel.to(DEVICE)), theirs, atol=1e-5, rtol=0)
    if batch > 1:
        assert (theirs[0] @ theirs[1:].T).max() < 0.999, "the model must tell sounds apart to show anything"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"depths": [1, 3], "num_attention_heads": [2, 2]}, id="odd depths"),
        pytest.param({"window_size": 4}, id="small windows"),
        pytest.param({"qkv_bias": False}, id="no bias"),
        pytest.param({"enable_patch_layer_norm": False}, id="no norm of patches"),
        pytest.param({"patch_embeds_hidden_size": 48, "num_attention_heads": [2, 4]}, id="heads of 24"),
        pytest.param({"patch_embeds_hidden_size": 96, "num_attention_heads": [4, 8]}, id="the usual width"),
        pytest.param({"patch_embeds_hidden_size": 24, "mlp_ratio": 2.0}, id="other widths"),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float32, 1e-5),
        (torch.float16, 0.003),
        pytest.param(
            torch.bfloat16,
            0.02,
            marks=pytest.mark.skipif(DEVICE.type == "cpu", reason="Triton's interpreter has no bfloat16"),
        ),
    ],
)
def test_equals_transformers_in_every_geometry(changes: dict, dtype: torch.dtype, tolerance: float) -> None:
    model = original(**(SMALL | changes))
    log_mel = log_mels(3)
    theirs = embed(OriginalTower(model), log_mel)
    torch.testing.assert_close(embed(fused(model, dtype), log_mel.to(DEVICE)), theirs, atol=tolerance, rtol=0)


def test_rows_that_are_all_but_constant_keep_their_digits() -> None:
    """A layer norm from sums of squares must not drown a small deviation in a large mean."""
    model = original(**SMALL)
    with torch.no_grad():
        model.audio_model.audio_encoder.patch_embed.norm.bias.add_(10.0)
    log_mel = log_mels(2)
    theirs = embed(OriginalTower(model), log_mel)
    torch.testing.assert_close(embed(fused(model), log_mel.to(DEVICE)), theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "relu"}, "activation ReLU"),
        ({"window_size": 16, "depths": [2], "num_attention_heads": [1]}, "attention windows of 256 tokens"),
    ],
)
def test_what_it_does_not_know_stays_with_torch_and_is_told(changes: dict, reason: str, caplog) -> None:
    caplog.set_level(logging.WARNING)
    model = original(**(SMALL | changes))
    tower = on_triton(build_tower(copy.deepcopy(model), FRAMES), DEVICE, torch.float32, 64)
    assert isinstance(tower, AudioTower)
    assert f"Triton can't calculate this audio tower (UnrecognisedTowerError: {reason})" in caplog.text
    log_mel = log_mels(2)
    tower.place(DEVICE, torch.float32)
    theirs = embed(OriginalTower(model), log_mel)
    torch.testing.assert_close(embed(tower, log_mel.to(DEVICE)), theirs, atol=1e-5, rtol=0)


def test_frames_that_would_be_stretched_silently_are_refused() -> None:
    with pytest.raises(ValueError, match="301 frames where 1001 belong"):
        fused(original(**SMALL))(log_mels(1)[:, :301].to(DEVICE))


def test_a_gpu_that_is_too_old_keeps_torch(monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    tower = build_tower(original(**SMALL), FRAMES)
    assert on_triton(tower, torch.device("cuda"), torch.float16, 64) is tower
    assert "this GPU is too old for Triton's kernels; using torch" in caplog.text
