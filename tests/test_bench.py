"""The benchmark runs on a tiny checkpoint and its figures hang together; the speed is no test's matter."""

import json
from pathlib import Path

import pytest
from tiny_clap import make_clap

from monitor.benchmark.capacity import capacity
from monitor.benchmark.latency import measure_latency
from monitor.benchmark.measure import BASELINE, EXACT, Options, bench
from monitor.benchmark.parts import Sound, config_of
from monitor.benchmark.report import as_json, text
from monitor.benchmark.weights import _tokenizer
from monitor.config import Config, EncoderConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


def test_it_measures_every_way_and_tells(folder: Path) -> None:
    # One way only: each is loaded once more, in a process of its own.
    options = Options(
        model=str(folder),
        device="cpu",
        events=(2, 3),
        sources=(1, 2),
        window_seconds=1.0,
        repeats=1,
        compact=False,
        fast=None,
        latency_seconds=0.0,
        openvino=False,
    )
    heard: list[str] = []
    report = bench(options, heard.append)
    assert heard[-1] == "turn 1 of 1"
    assert set(report.batch_milliseconds) == {BASELINE, EXACT}
    assert report.drift == {EXACT: 0.0}
    assert all(megabytes > 50 for megabytes in report.resident_megabytes.values())
    milliseconds = report.batch_milliseconds[EXACT][2][3]
    assert report.windows_per_second(EXACT, 2, 3) == pytest.approx(2000.0 / milliseconds)
    told = json.loads(as_json(report))
    assert told["windows_per_second"][EXACT]["2"]["3"] == pytest.approx(2000.0 / milliseconds)
    page = text(report)
    for way in report.batch_milliseconds:
        assert sum(line.startswith(f"{way} ") for line in page.splitlines()) == (2 if way == BASELINE else 4)
    assert f"weights: {folder}" in page


def test_latency_is_that_of_the_real_pipeline() -> None:
    windows = {"window_seconds": 1.0, "hop_seconds": 0.25}
    latency = measure_latency(config_of(5, windows), EncoderConfig(), [1, 4], seconds=1.0)
    for sources, figures in latency.items():
        assert 0.0 < figures.median <= figures.percentile_99
        assert figures.windows + figures.dropped >= sources


def test_it_tells_how_many_sources_a_configuration_can_have(folder: Path) -> None:
    config = {
        "sources": {"room": {}},
        "events": {"dog": "a dog barking"},
        "encoder": {"model": str(folder), "device": "cpu"},
        "windows": {"window_seconds": 1.0, "hop_seconds": 0.5},
    }
    assert 0.5 < capacity(Config.model_validate(config), repeats=1) < 10_000


def test_windows_follow_one_another() -> None:
    """The compact encoder computes the new part only, as it does in real use."""
    sound = Sound(2.0, 0.5, 48000)
    for before, after in zip(sound.windows(64, 3), sound.windows(64, 4), strict=True):
        assert before.source == after.source
        assert after.position - before.position == 24000
        assert (before.samples[24000:] == after.samples[:-24000]).all()


def test_random_weights_come_with_a_tokenizer_of_realistic_length() -> None:
    tokenizer = _tokenizer(["This is a sound of a dog barking."])
    assert len(tokenizer("This is a sound of a dog barking.")["input_ids"]) == 11
