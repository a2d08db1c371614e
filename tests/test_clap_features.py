"""What the CLAP encoder's tower is fed with: repeat-padding and log-mel, equal to transformers' front end."""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ClapFeatureExtractor

from monitor.encoders.clap_batches import lay, runs, tile
from monitor.encoders.clap_logmel import LogMel

RATE_HZ = 48000
LENGTH = 10 * RATE_HZ
EXTRACTOR = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50)


def ours(samples: np.ndarray) -> torch.Tensor:
    row = torch.full((1, LENGTH), torch.nan)
    tile(row, torch.from_numpy(samples)[None])
    return LogMel(dtype=torch.float64)(row)[0]


def theirs(samples: np.ndarray) -> torch.Tensor:
    return EXTRACTOR([samples], sampling_rate=RATE_HZ, return_tensors="pt")["input_features"][0, 0].float()


@pytest.mark.real
def test_features_of_fifty_recordings_equal_transformers(shared: Path) -> None:
    with (shared / "audio" / "manifest.csv").open(newline="") as file:
        paths = sorted({row["path"] for row in csv.DictReader(file) if row["path"].startswith("esc50/")})
    chosen = paths[:: len(paths) // 50][:50]
    assert len(chosen) == 50
    rng = np.random.default_rng(3)
    for number, path in enumerate(chosen):
        samples, rate_hz = soundfile.read(shared / "audio" / path, dtype="float32", always_2d=True)
        sound = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
        sound = sound if number % 2 else sound[: rng.integers(RATE_HZ // 2, len(sound))]
        features = ours(sound)
        assert features.shape == (1001, 64)
        torch.testing.assert_close(
            features, theirs(sound), atol=1e-3, rtol=0, msg=lambda text, path=path: f"{path}: {text}"
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(min_value=1, max_value=LENGTH))
def test_padding_of_any_length_equals_transformers(length: int) -> None:
    samples = np.arange(1, length + 1, dtype=np.float32)
    row = torch.full((1, LENGTH), torch.nan)
    tile(row, torch.from_numpy(samples)[None])
    copies = int(LENGTH / length)
    expected = np.pad(np.tile(samples, copies), (0, LENGTH - copies * length))
    np.testing.assert_array_equal(row[0].numpy(), expected)


@given(st.lists(st.integers(min_value=0, max_value=3)))
def test_runs_cut_a_sorted_list_into_equal_values(values: list[int]) -> None:
    values.sort()
    cuts = list(runs(values))
    assert [values[start] for start, _ in cuts] == sorted(set(values))
    assert [index for start, stop in cuts for index in range(start, stop)] == list(range(len(values)))
    assert all(len(set(values[start:stop])) == 1 for start, stop in cuts)


@settings(max_examples=25)
@given(st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=30), st.integers(1, 9))
def test_clips_lie_one_behind_the_other_whoever_copies_them(lengths: list[int], threads: int) -> None:
    clips = [np.full(length, number, np.float32) for number, length in enumerate(lengths)]
    host = np.full(sum(lengths) + 3, -1.0, np.float32)
    with ThreadPoolExecutor(threads) as pool:
        assert lay(host, clips, pool, threads) == sum(lengths)
    np.testing.assert_array_equal(host, np.concatenate([*clips, np.full(3, -1.0)]))


def test_a_gpus_filters_add_real_and_imaginary_parts() -> None:
    log_mel = LogMel(dtype=torch.float64)
    spectrum = torch.randn(2, 7, 513, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    parts = torch.view_as_real(spectrum).float().square().flatten(-2)
    expected = spectrum.abs().square().float() @ log_mel.filters
    torch.testing.assert_close(parts @ log_mel.paired_filters, expected)
