"""`classify` against transformers' own zero-shot pipeline."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from tiny_clap import full_tokenizer, make_clap
from transformers import ClapConfig, pipeline

from monitor.classify import PIPELINE_TEMPLATE, classify, default_template
from monitor.config import EncoderConfig
from monitor.encoders.clap import ClapEncoder
from monitor.errors import ConfigError, SourceError

RATE_HZ = 48000
LABELS = ["Sound of train", "Sound of bus", "Sound of flight", "Sound of bike", "Sound of boat"]
LENGTHS_SECONDS = [0.3, 1.0, 2.7, 3.0, 4.99, 5.0, 7.3, 9.999, 10.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClapEncoder:
    return ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def zero_shot(folder: Path):
    return pipeline("zero-shot-audio-classification", model=str(folder), device="cpu")


def write(path: Path, seconds: float, *, rate_hz: int = RATE_HZ, channels: int = 1, seed: int = 0) -> Path:
    """A chirp in noise, 16 bits."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    chirp = np.sin(2 * np.pi * (200 + 300 * time) * time)[:, None]
    sound = 0.3 * chirp + 0.05 * rng.standard_normal((len(time), channels))
    soundfile.write(path, sound.astype(np.float32), rate_hz, subtype="PCM_16")
    return path


def assert_same(ours: list[tuple[str, float]], theirs: list[dict]) -> None:
    expected = {each["label"]: each["score"] for each in theirs}
    assert len(ours) == len(expected)
    for label, score in ours:
        assert score == pytest.approx(expected[label], abs=1e-4)
    assert [score for _, score in ours] == sorted((score for _, score in ours), reverse=True)
    assert sum(score for _, score in ours) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("seconds", LENGTHS_SECONDS)
def test_equals_the_pipeline_at_every_length(encoder, zero_shot, tmp_path: Path, seconds: float) -> None:
    file = write(tmp_path / "sound.wav", seconds)
    theirs = zero_shot(str(file), candidate_labels=LABELS)
    assert np.ptp([each["score"] for each in theirs]) > 0.01, (
        "the model must prefer something to show anything"
    )
    assert_same(classify(file, LABELS, encoder, template=PIPELINE_TEMPLATE), theirs)


@pytest.mark.parametrize("template", ["{}", "the sound of {}, far away"])
def test_equals_the_pipeline_with_another_template(encoder, zero_shot, tmp_path: Path, template: str) -> None:
    file = write(tmp_path / "sound.wav", 2.0)
    theirs = zero_shot(str(file), candidate_labels=LABELS, hypothesis_template=template)
    assert_same(classify(file, LABELS, encoder, template=template), theirs)


@pytest.mark.parametrize(("rate_hz", "channels"), [(16000, 1), (44100, 2), (96000, 1), (48000, 2)])
def test_another_rate_and_stereo_are_converted_before(
    encoder, zero_shot, tmp_path: Path, rate_hz: int, channels: int
) -> None:
    file = write(tmp_path / "sound.flac", 3.0, rate_hz=rate_hz, channels=channels)
    samples = soundfile.read(file, dtype="float32", always_2d=True)[0].mean(axis=1)
    theirs = zero_shot(soxr.resample(samples, rate_hz, RATE_HZ), candidate_labels=LABELS)
    assert_same(classify(file, LABELS, encoder, template=PIPELINE_TEMPLATE), theirs)


@pytest.mark.real
def test_equals_the_pipeline_on_recordings(encoder, zero_shot, shared: Path) -> None:
    files = sorted((shared / "audio" / "esc10").glob("*/*.ogg"))[::60]
    assert files
    for file in files:
        samples, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
        theirs = zero_shot(soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ), candidate_labels=LABELS)
        assert_same(classify(file, LABELS, encoder, template=PIPELINE_TEMPLATE), theirs)


@pytest.mark.parametrize("seconds", [10.001, 15.0, 15.1, 37.3])
def test_a_long_recording_is_covered_by_half_overlapping_windows(
    encoder, tmp_path: Path, monkeypatch, seconds: float
) -> None:
    file = write(tmp_path / "long.wav", seconds)
    sound = soundfile.read(file, dtype="float32")[0]
    heard = []
    embed_audio = encoder.embed_audio
    monkeypatch.setattr(encoder, "embed_audio", lambda windows: heard.extend(windows) or embed_audio(windows))
    classify(file, LABELS, encoder)
    ends = [round(window.end_time * RATE_HZ) for window in heard]
    assert [window.position for window in heard[:-1]] == [
        5 * RATE_HZ * index for index in range(len(heard) - 1)
    ]
    assert 0 < heard[-1].position - heard[-2].position <= 5 * RATE_HZ
    assert ends[-1] == len(sound)
    for window in heard:
        assert len(window.samples) == 10 * RATE_HZ
        np.testing.assert_array_equal(window.samples, sound[window.position :][: 10 * RATE_HZ])


def test_a_long_recording_of_one_sound_scores_like_a_part_of_it(encoder, tmp_path: Path) -> None:
    part = write(tmp_path / "part.wav", 5.0)
    sound = soundfile.read(part)[0]
    soundfile.write(tmp_path / "long.wav", np.tile(sound, 7), RATE_HZ, subtype="PCM_16")
    short = dict(classify(part, LABELS, encoder))
    assert dict(classify(tmp_path / "long.wav", LABELS, encoder)) == pytest.approx(short, abs=1e-3)


def test_its_own_template_for_each_model() -> None:
    assert default_template("compact") == "{}"
    assert default_template("laion/clap-htsat-unfused") == "This is a sound of {}."


def test_a_template_without_a_place_for_the_label_is_refused(encoder, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=re.escape("template: 'a sound' has no place for the label; put {} there")
    ):
        classify(write(tmp_path / "sound.wav", 1.0), LABELS, encoder, template="a sound")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.wav", None, "can't be read: No such file or directory"),
        ("text.wav", b"not a sound", "is no WAV, FLAC, OGG or MP3 that can be read"),
        ("empty.wav", b"", "is empty"),
    ],
)
def test_a_file_that_cant_be_read_is_one_line(
    encoder, tmp_path: Path, name: str, content, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        classify(tmp_path / name, LABELS, encoder)
    assert str(caught.value).startswith(f"{str(tmp_path / name)!r} {message}")
    assert "\n" not in str(caught.value)


def test_silence_is_told_rather_than_classified(encoder, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(SourceError, match="holds nothing but silence"):
        classify(tmp_path / "silence.wav", LABELS, encoder)


@pytest.mark.large
@pytest.mark.timeout(600)
def test_equals_the_pipeline_with_the_full_size_architecture(tmp_path: Path, shared: Path) -> None:
    tokenizer = full_tokenizer(shared / "tokenizer" / "roberta_tokenizer.json")
    folder = make_clap(tmp_path / "full", config=ClapConfig(), tokenizer=tokenizer)
    zero_shot = pipeline("zero-shot-audio-classification", model=str(folder), device="cpu")
    encoder = ClapEncoder.load(EncoderConfig(model=str(folder), device="cpu"))
    for seconds in LENGTHS_SECONDS:
        file = write(tmp_path / "sound.wav", seconds)
        ours = classify(file, LABELS, encoder, template=PIPELINE_TEMPLATE)
        theirs = zero_shot(str(file), candidate_labels=LABELS)
        assert_same(ours, theirs)
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["dog", ""], "--labels: '' says nothing; describe the sound in words"),
        (["dog", "cat", "dog"], "--labels: 'dog' is there 2 times; keep one"),
    ],
)
def test_labels_that_say_nothing_or_are_there_twice_are_refused(
    encoder, tmp_path: Path, labels: list[str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        classify(write(tmp_path / "sound.wav", 1.0), labels, encoder)
    assert str(caught.value) == says
