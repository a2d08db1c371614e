"""The CLAP encoder on a GPU against itself on a CPU: graphs, copies, half precision, too little memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_clap import PROMPTS, embed, softmax, sound
from tiny_clap import make_clap

from monitor.config import EncoderConfig
from monitor.encoders.clap import ClapEncoder
from monitor.encoders.clap_batches import CudaBatches
from monitor.errors import EncoderError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
COUNTS = [1, 2, 3, 5, 8, 24, 25, 70]
SOUNDS = [sound(2.0, seed) for seed in range(max(COUNTS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClapEncoder:
    return ClapEncoder.load(EncoderConfig(model=str(folder), device="cuda", max_batch=24))


@pytest.fixture(scope="module")
def on_cpu(folder: Path) -> ClapEncoder:
    return ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def exact(on_cpu: ClapEncoder) -> np.ndarray:
    return embed(on_cpu, *SOUNDS)


def test_it_runs_on_kernels_of_its_own(encoder: ClapEncoder) -> None:
    assert type(encoder.tower).__name__ == "TritonTower"


def test_there_is_a_graph_for_every_size(encoder: ClapEncoder) -> None:
    assert sorted(encoder._batches._graphs) == [1, 2, 4, 8, 16, 24]


@pytest.mark.parametrize("count", COUNTS)
def test_graphs_equal_the_cpu_at_every_batch_size(
    encoder: ClapEncoder, exact: np.ndarray, count: int
) -> None:
    np.testing.assert_allclose(embed(encoder, *SOUNDS[:count]), exact[:count], atol=1e-5)


def test_calls_in_a_row_dont_mix(encoder: ClapEncoder, exact: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        chosen = rng.permutation(len(SOUNDS))[: rng.integers(1, len(SOUNDS) + 1)]
        rows = embed(encoder, *[SOUNDS[index] for index in chosen])
        np.testing.assert_allclose(rows, exact[chosen], atol=1e-5)


def test_windows_of_several_lengths_keep_their_places(encoder: ClapEncoder, on_cpu: ClapEncoder) -> None:
    lengths = [10.0, 0.5, 3.0, 0.5, 10.0, 1.0, 2.7] * 5
    sounds = [sound(seconds, seed) for seed, seconds in enumerate(lengths)]
    np.testing.assert_allclose(embed(encoder, *sounds), embed(on_cpu, *sounds), atol=1e-5)


def test_undefined_audio_gives_a_zero_row_and_spares_its_neighbours(
    encoder: ClapEncoder, exact: np.ndarray
) -> None:
    nothing, wrong = np.zeros_like(SOUNDS[0]), np.full_like(SOUNDS[0], np.nan)
    rows = embed(encoder, SOUNDS[0], nothing, wrong, SOUNDS[1])
    np.testing.assert_array_equal(rows[1:3], 0.0)
    np.testing.assert_allclose(rows[[0, 3]], exact[:2], atol=1e-5)
    np.testing.assert_allclose(embed(encoder, *SOUNDS[:4]), exact[:4], atol=1e-5)


def test_text_equals_the_cpu_and_leaves_no_memory_behind(encoder: ClapEncoder, on_cpu: ClapEncoder) -> None:
    encoder.embed_text(PROMPTS)  # libraries take their workspaces
    before = torch.cuda.memory_allocated()
    rows = encoder.embed_text(PROMPTS)
    assert torch.cuda.memory_allocated() == before
    np.testing.assert_allclose(rows, on_cpu.embed_text(PROMPTS), atol=1e-5)


@pytest.mark.parametrize(("dtype", "drift"), [("float16", 0.01), ("bfloat16", 0.03)])
def test_half_precision_is_close(
    folder: Path, on_cpu: ClapEncoder, exact: np.ndarray, dtype, drift: float
) -> None:
    half = ClapEncoder.load(EncoderConfig(model=str(folder), device="cuda", dtype=dtype, max_batch=16))
    rows = embed(half, *SOUNDS)
    assert np.isfinite(rows).all()
    texts = on_cpu.embed_text(PROMPTS).T
    scores, fast = (softmax(half.logit_scale * each @ texts) for each in (exact, rows))
    assert 0.0 < np.abs(scores - fast).max() < drift


def test_without_graphs_it_warns_and_goes_on(folder: Path, exact: np.ndarray, monkeypatch, caplog) -> None:
    def fail(batches: CudaBatches) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(CudaBatches, "_capture", fail)
    encoder = ClapEncoder.load(EncoderConfig(model=str(folder), device="cuda", max_batch=4))
    assert "CUDA graphs can't be captured" in caplog.text
    np.testing.assert_allclose(embed(encoder, *SOUNDS[:7]), exact[:7], atol=1e-5)


def test_too_little_memory_is_one_line_with_the_remedy(folder: Path) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**27) / total)
    try:
        with pytest.raises(EncoderError) as caught:
            ClapEncoder.load(EncoderConfig(model=str(folder), device="cuda", max_batch=256))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    problem = "there isn't enough memory to run it; free some, lower `encoder.max_batch`"
    assert str(caught.value) == f"encoder.model: {folder}: {problem}, or use `encoder: {{model: compact}}`"


def test_a_failure_while_running_is_an_encoder_error(folder: Path, exact: np.ndarray) -> None:
    encoder = ClapEncoder.load(EncoderConfig(model=str(folder), device="cuda", max_batch=64))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    try:
        with pytest.raises(EncoderError, match="the model failed on cuda:0"):
            embed(encoder, *[sound(10.0)] * 64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(embed(encoder, *SOUNDS[:4]), exact[:4], atol=1e-5)
