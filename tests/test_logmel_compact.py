"""The front end equals transformers' own, and pieces of a stream equal the whole."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor import logmel
from monitor.encoders.clap_logmel import LogMel
from monitor.logmel import FLOOR_DB, LogMelSettings

SHARED = Path(os.environ.get("SOUND_MONITOR_SHARED", Path(__file__).parents[2] / "shared"))


def reference(samples: np.ndarray) -> np.ndarray:
    transformers = pytest.importorskip("transformers")
    extractor = transformers.ClapFeatureExtractor(
        truncation="rand_trunc", frequency_min=50, frequency_max=14000
    )
    return extractor._np_extract_fbank_features(samples, extractor.mel_filters_slaney)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 10.0])
def test_equals_transformers_on_noise(seconds: float) -> None:
    rng = np.random.default_rng(7)
    samples = (0.1 * rng.standard_normal(int(48000 * seconds))).astype(np.float32)
    ours = LogMel()(torch.from_numpy(samples)[None])[0].numpy()
    assert ours.shape == (1 + len(samples) // 480, 64)
    np.testing.assert_allclose(ours, reference(samples), atol=1e-3)


def test_equals_transformers_on_recordings() -> None:
    soundfile = pytest.importorskip("soundfile")
    paths = sorted((SHARED / "audio" / "esc50").glob("*/*.ogg"))[::150]
    if not paths:
        pytest.skip(f"no recordings under {SHARED}")
    for path in paths:
        samples = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
        ours = LogMel()(torch.from_numpy(samples)[None])[0].numpy()
        theirs = reference(samples)
        # Far below a frame's loudest band, the reference's float64 transform resolves more than float32 does.
        loud = theirs > theirs.max(axis=1, keepdims=True) - 50
        np.testing.assert_allclose(ours[loud], theirs[loud], atol=1e-3)
        np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_silence_is_the_floor() -> None:
    assert torch.all(LogMel()(torch.zeros(2, 4800)) == FLOOR_DB)


def test_pieces_of_a_stream_equal_the_whole() -> None:
    settings = LogMelSettings()
    mel = LogMel(settings)
    stream = torch.randn(1, 48000, generator=torch.Generator().manual_seed(1))
    whole = mel.frames(stream)
    cut = 40 * settings.hop
    first = mel.frames(stream[:, : cut + settings.n_fft - settings.hop])
    second = mel.frames(stream[:, cut:])
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-4, rtol=0)
    centred = mel(stream)
    torch.testing.assert_close(
        centred[:, 2:-2], mel.frames(stream[:, 448:])[:, : centred.shape[1] - 4], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seconds", [0.03, 0.5, 10.0])
def test_plain_arrays_equal_torch(seconds: float, batch: int) -> None:
    rng = np.random.default_rng(5)
    samples = rng.standard_normal((batch, int(48000 * seconds))).astype(np.float32)
    samples *= np.logspace(-4, 0, samples.shape[1], dtype=np.float32)
    theirs = LogMel().frames(torch.from_numpy(samples)).numpy()
    ours = logmel.LogMel().frames(samples)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_plain_arrays_have_the_same_floor() -> None:
    np.testing.assert_allclose(logmel.LogMel().frames(np.zeros((2, 4800), dtype=np.float32)), FLOOR_DB)
