"""The CLAP encoder against transformers' own model, front end and tokenizer."""

import gc
import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clap import make_clap
from transformers import ClapModel, ClapProcessor

from monitor.config import EncoderConfig
from monitor.encoders import load_encoder
from monitor.encoders.clap import ClapEncoder, _warn_of_slowness
from monitor.encoders.clap_text import TextTower
from monitor.errors import EncoderError
from monitor.types import Window

RATE_HZ = 48000
PROMPTS = ["a dog barking", "a crying baby", "Sound of train", "", "rain and wind; " * 60]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClapEncoder:
    return ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[ClapModel, ClapProcessor]:
    return ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """A few partials under a moving envelope, in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    partials = sum(np.sin(2 * np.pi * hz * time) for hz in rng.uniform(80, 8000, size=4))
    envelope = np.exp(-rng.uniform(0.2, 3.0) * (time % rng.uniform(0.3, 1.5)))
    return (0.05 * envelope * partials + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def window(samples: np.ndarray, rate_hz: int = RATE_HZ) -> Window:
    samples = samples.copy()
    samples.flags.writeable = False
    return Window("room", 0, rate_hz, samples, 0.0, len(samples) / rate_hz, -30.0)


def embed(encoder: ClapEncoder, *sounds: np.ndarray) -> np.ndarray:
    return encoder.embed_audio([window(samples) for samples in sounds])


def transformers_embedding(reference: tuple[ClapModel, ClapProcessor], samples: np.ndarray) -> np.ndarray:
    model, processor = reference
    features = processor.feature_extractor([samples], sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        return model.get_audio_features(features["input_features"].float()).pooler_output[0].numpy()


@pytest.mark.parametrize("seconds", [0.02, 0.3, 0.5, 1.0, 2.0, 2.7, 3.0, 4.99, 5.0, 5.01, 7.3, 9.999, 10.0])
def test_a_window_of_any_length_equals_transformers(encoder: ClapEncoder, reference, seconds: float) -> None:
    samples = sound(seconds)
    [ours] = embed(encoder, samples)
    np.testing.assert_allclose(ours, transformers_embedding(reference, samples), atol=1e-5)


def test_different_sounds_are_told_apart(encoder: ClapEncoder) -> None:
    """Else the equalities here would show nothing."""
    rows = embed(encoder, *[sound(3.0, seed) for seed in range(6)])
    cosines = rows @ rows.T
    assert np.abs(cosines[~np.eye(6, dtype=bool)]).max() < 0.999
    assert np.ptp(cosines) > 0.01


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_a_batch_equals_its_windows_one_by_one(encoder: ClapEncoder, count: int) -> None:
    sounds = [sound(2.0, seed) for seed in range(count)]
    together = embed(encoder, *sounds)
    apart = np.concatenate([embed(encoder, samples) for samples in sounds])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_windows_of_several_lengths_keep_their_places(folder: Path) -> None:
    # With that many threads, a batch holds several.
    encoder = ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu", threads=8))
    torch.set_num_threads(1)
    sounds = [sound(seconds, seed) for seed, seconds in enumerate([10.0, 0.5, 3.0, 0.5, 10.0, 1.0, 3.0])]
    together = embed(encoder, *sounds)
    apart = np.concatenate([embed(encoder, samples) for samples in sounds])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_text_equals_transformers(encoder: ClapEncoder, reference) -> None:
    model, processor = reference
    tokens = processor.tokenizer(PROMPTS, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        theirs = model.get_text_features(**tokens).pooler_output.numpy()
    np.testing.assert_allclose(encoder.embed_text(PROMPTS), theirs, atol=1e-6)


def test_a_text_doesnt_depend_on_those_beside_it(encoder: ClapEncoder) -> None:
    many = [f"sound number {number}" for number in range(150)]
    rows = encoder.embed_text([*many, *PROMPTS, many[0]])
    np.testing.assert_allclose(rows[150:155], encoder.embed_text(PROMPTS), atol=1e-6)
    np.testing.assert_array_equal(rows[0], rows[-1])


def test_embeddings_have_unit_length(encoder: ClapEncoder) -> None:
    rows = np.concatenate([embed(encoder, sound(1.0)), encoder.embed_text(PROMPTS)])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_nothing_gives_no_rows(encoder: ClapEncoder) -> None:
    assert encoder.embed_audio([]).shape == (0, 32)
    assert encoder.embed_text([]).shape == (0, 32)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(np.zeros(RATE_HZ, np.float32), id="silence"),
        pytest.param(np.full(RATE_HZ, np.nan, np.float32), id="nan"),
        pytest.param(np.where(np.arange(RATE_HZ) == 7, np.inf, 0.1).astype(np.float32), id="one infinity"),
        pytest.param(np.full(RATE_HZ, 1e30, np.float32), id="beyond float32 when squared"),
    ],
)
def test_undefined_audio_gives_a_zero_row_and_spares_its_neighbours(
    encoder: ClapEncoder, bad: np.ndarray
) -> None:
    good = sound(1.0)
    rows = embed(encoder, good, bad, good)
    np.testing.assert_array_equal(rows[1], 0.0)
    np.testing.assert_array_equal(rows[0], embed(encoder, good)[0])
    np.testing.assert_array_equal(rows[2], rows[0])


@pytest.mark.parametrize(
    ("samples", "rate_hz", "message"),
    [
        (480001, RATE_HZ, "480001 samples at 48000 Hz can't be embedded"),
        (16000, 16000, "16000 samples at 16000 Hz can't be embedded"),
        (0, RATE_HZ, "0 samples at 48000 Hz can't be embedded"),
    ],
)
def test_a_window_that_would_be_cropped_or_misheard_is_refused(
    encoder: ClapEncoder, samples: int, rate_hz: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        encoder.embed_audio([window(np.ones(samples, np.float32), rate_hz)])


def test_it_says_what_it_is(encoder: ClapEncoder, folder: Path, tmp_path: Path) -> None:
    assert (encoder.rate_hz, encoder.max_window_seconds) == (48000, 10.0)
    assert encoder.logit_scale == pytest.approx(1 / 0.07)
    name, digest = encoder.identity.split("@")
    assert name == folder.name
    assert len(digest) == 12
    again = ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu"))
    assert again.identity == encoder.identity
    other = ClapEncoder.load(EncoderConfig(model=str(make_clap(tmp_path / name, seed=1)), device="cpu"))
    assert other.identity.startswith(f"{name}@")
    assert other.identity != encoder.identity


def test_the_text_tower_is_gone_after_its_call(encoder: ClapEncoder, monkeypatch) -> None:
    made = []
    build = TextTower.__init__

    def noted(self: TextTower, *rest: object) -> None:
        made.append(weakref.ref(self))
        build(self, *rest)

    monkeypatch.setattr(TextTower, "__init__", noted)
    encoder.embed_text(["a dog barking"])
    gc.collect()
    [tower] = made
    assert tower() is None


def test_half_precision_is_close_and_finite(folder: Path, encoder: ClapEncoder) -> None:
    half = ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu", dtype="bfloat16"))
    sounds = [sound(2.0, seed) for seed in range(4)]
    texts = encoder.embed_text(PROMPTS).T
    exact, fast = (encoder.logit_scale * embed(each, *sounds) @ texts for each in (encoder, half))
    assert not np.array_equal(exact, fast)
    assert np.abs(softmax(exact) - softmax(fast)).max() < 0.02


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_failing_device_is_an_encoder_error_of_one_line(
    folder: Path, monkeypatch, error: RuntimeError
) -> None:
    encoder = ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu"))

    def fail(clips: object) -> np.ndarray:
        raise error

    monkeypatch.setattr(encoder._batches, "embed", fail)
    with pytest.raises(EncoderError) as caught:
        embed(encoder, sound(1.0))
    reason = str(error).splitlines()[0]
    assert str(caught.value) == f"{encoder.identity}: the model failed on cpu ({reason}); is its memory full?"


def test_a_bug_isnt_taken_for_a_failing_device(encoder: ClapEncoder, monkeypatch) -> None:
    def fail(clips: object) -> np.ndarray:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(encoder._batches, "embed", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        embed(encoder, sound(1.0))


def test_a_folder_loads_it_and_its_load_is_told(folder: Path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="monitor")
    encoder = load_encoder(EncoderConfig(model=str(folder), device="cpu"))
    assert isinstance(encoder, ClapEncoder)
    assert [record.message for record in caplog.records] == [f"loaded {encoder.identity} on cpu, float32"]
    assert not any(parameter.requires_grad for parameter in encoder.tower.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_isnt_there_is_told_with_the_remedy(folder: Path) -> None:
    with pytest.raises(EncoderError) as caught:
        ClapEncoder.load(EncoderConfig(model=str(folder), device="cuda"))
    remedy = "install its driver and a CUDA build of torch, or set `auto`"
    assert str(caught.value) == f"encoder.device: cuda: torch sees no usable GPU; {remedy}"


@pytest.mark.parametrize(
    ("capability", "dtype", "warns"),
    [((7, 5), torch.bfloat16, True), ((7, 5), torch.float16, False), ((8, 6), torch.bfloat16, False)],
)
def test_an_old_gpu_is_told_what_it_calculates_slowly(capability, dtype, warns, monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    _warn_of_slowness(torch.device("cuda"), dtype)
    says = "encoder.dtype: bfloat16: this GPU is too old to calculate it fast; set float16"
    assert ([record.getMessage() for record in caplog.records] == [says]) is warns
