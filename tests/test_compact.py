"""The compact encoder: streaming equals whole windows, odd inputs stay finite, prompts behave."""

import subprocess
import sys

import numpy as np
import pytest

from monitor.encoders import compact_net
from monitor.encoders.compact import MAX_SOURCES, CompactEncoder
from monitor.types import Window

RATE = 48000
STEP = 7680
LOOK_BACK_FRAMES = 11


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    return CompactEncoder.load()


@pytest.fixture(autouse=True)
def _fresh(encoder: CompactEncoder) -> None:
    encoder.forget()


def recording(seconds: float, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    level = 0.02 + 0.1 * (np.sin(2 * np.pi * 0.7 * t + seed) > 0.3)
    tone = np.sin(2 * np.pi * 700 * (1 + 0.3 * np.sin(2 * np.pi * 0.2 * t)) * t)
    return (level * (rng.standard_normal(len(t)) * 0.3 + tone)).astype(np.float32)


def window(samples: np.ndarray, position: int, seconds: float, source: str = "a") -> Window:
    piece = samples[position : position + int(seconds * RATE)]
    return Window(source, position, RATE, piece, position / RATE, (position + len(piece)) / RATE, -20.0)


def frames_of(encoder: CompactEncoder, source: str = "a") -> tuple[int, np.ndarray]:
    stream = encoder._streams[source]
    return stream.first, stream.frames.copy()


@pytest.mark.parametrize("hop", [0.1, 0.5, 0.77, 1.0, 2.5])
def test_overlapping_windows_equal_whole_ones_inside_their_edges(encoder: CompactEncoder, hop: float) -> None:
    samples = recording(12)
    for k in range(int((12 - 5) / hop) + 1):
        encoder.embed_audio([window(samples, int(k * hop * RATE), 5)])
    position = int(k * hop * RATE)
    first, streamed = frames_of(encoder)
    encoder.forget()
    encoder.embed_audio([window(samples, position, 5)])
    start, whole = frames_of(encoder)
    inside = start + LOOK_BACK_FRAMES
    np.testing.assert_allclose(streamed[inside - first :], whole[inside - start :], atol=2e-4)
    assert len(whole) > 2 * LOOK_BACK_FRAMES


def test_a_stream_equals_one_pass_over_all_of_it(encoder: CompactEncoder) -> None:
    samples = recording(9)
    for position in range(0, 4 * RATE + 1, 12345):
        encoder.embed_audio([window(samples, position, 5)])
    first, streamed = frames_of(encoder)
    encoder.forget()
    encoder.embed_audio([window(samples, 0, 9)])
    whole = frames_of(encoder)[1]
    np.testing.assert_allclose(streamed, whole[first : first + len(streamed)], atol=2e-4)


def test_products_tap_by_tap_equal_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, results, calls = recording(6), [], 0

    def counted(patches, taps):
        nonlocal calls
        calls += 1
        return by_tap(patches, taps)

    by_tap = compact_net.by_tap
    monkeypatch.setattr(compact_net, "by_tap", counted)
    for in_place in (False, True):
        monkeypatch.setattr(compact_net, "multiplies_in_place", lambda found=in_place: found)
        encoder = CompactEncoder.load()
        for source, hop in (("a", 0.5), ("b", 0.16)):
            windows = [window(samples, int(k * hop * RATE), 2, source) for k in range(8)]
            results.append(np.concatenate([encoder.embed_audio([each]) for each in windows]))
        assert (calls > 0) == in_place
    for whole, tapped in zip(results[:2], results[2:], strict=True):
        np.testing.assert_allclose(tapped, whole, atol=1e-5)


def test_a_hop_costs_its_new_part_only(encoder: CompactEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    original = encoder.net.frames

    def counted(decibels, state=None):
        computed.append(decibels.shape[1])
        return original(decibels, state)

    monkeypatch.setattr(encoder.net, "frames", counted)
    samples = recording(12)
    for k in range(10):
        encoder.embed_audio([window(samples, k * RATE // 2, 5)])
    assert computed[0] >= 480
    assert max(computed[1:]) <= 64
    assert sum(computed[1:]) == pytest.approx(9 * 50, abs=16)


@pytest.mark.parametrize(
    "change",
    ["jump ahead", "jump back", "other recording at the same positions", "the same position again"],
)
def test_breaks_start_afresh(encoder: CompactEncoder, change: str) -> None:
    samples, other = recording(12), recording(12, seed=8)
    encoder.embed_audio([window(samples, 2 * RATE, 2)])
    after = {
        "jump ahead": window(samples, 7 * RATE, 2),
        "jump back": window(samples, RATE, 2),
        "other recording at the same positions": window(other, int(2.5 * RATE), 2),
        "the same position again": window(other, 2 * RATE, 2),
    }[change]
    got = encoder.embed_audio([after])
    encoder.forget()
    np.testing.assert_array_equal(got, encoder.embed_audio([after]))


def test_batches_mix_sources_and_lossless_replay(encoder: CompactEncoder) -> None:
    recordings = {name: recording(10, seed) for seed, name in enumerate("abc")}
    batch = [window(recordings[name], k * 20000, 2.5, name) for k in range(6) for name in "abc"]
    together = encoder.embed_audio(batch)
    encoder.forget()
    alone = np.concatenate([encoder.embed_audio([w]) for w in batch])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.5, 1, 3.3, 10])
def test_any_length_gives_unit_embeddings(encoder: CompactEncoder, seconds: float) -> None:
    result = encoder.embed_audio([window(recording(11), 777, seconds)])
    assert np.linalg.norm(result[0]) == pytest.approx(1, abs=1e-4)
    assert result.dtype == np.float32


def test_silence_and_undefined_samples_give_zero_rows(encoder: CompactEncoder) -> None:
    silence = np.zeros(5 * RATE, dtype=np.float32)
    broken = recording(6)
    broken[3000] = np.inf
    broken[4000] = np.nan
    rows = encoder.embed_audio(
        [window(silence, 0, 5, "quiet"), window(broken, 0, 5, "broken"), window(silence, 0, 0, "none")]
    )
    assert not rows.any()
    later = encoder.embed_audio(
        [window(broken, RATE, 5, "broken"), window(1e30 * recording(5), 0, 5, "loud")]
    )
    assert np.isfinite(later).all()
    np.testing.assert_allclose(np.linalg.norm(later, axis=1), 1, atol=1e-4)


def test_the_cache_is_bounded(encoder: CompactEncoder) -> None:
    samples = recording(1)
    for i in range(MAX_SOURCES + 20):
        encoder._stream(window(samples, 0, 1, f"s{i}"))
    assert len(encoder._streams) == MAX_SOURCES
    encoder.forget()
    long = recording(40)
    for second in range(30):
        encoder.embed_audio([window(long, second * RATE, 10)])
    assert len(encoder._streams["a"].frames) <= 64


def test_prompts(encoder: CompactEncoder) -> None:
    prompts = [
        "",
        "dog",
        "the sound of a dog",
        "xqzt wkrp 🎵 ñandú",
        "a very long prompt about a dog " * 60,
        "dogs barking",
    ]
    rows = encoder.embed_text(prompts)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(rows[1:2], encoder.embed_text(["dog"]), atol=1e-6)
    assert encoder.embed_text([]).shape == (0, rows.shape[1])


@pytest.mark.parametrize("template", ["the sound of {}", "sound of {}", "a recording of {}", "Sound of {}"])
def test_templates_change_little(encoder: CompactEncoder, template: str) -> None:
    labels = ["train", "smoke alarm", "dog barking", "rain", "doorbell", "crying baby", "glass breaking"]
    plain, phrased = (
        encoder.embed_text(labels),
        encoder.embed_text([template.format(label) for label in labels]),
    )
    assert (plain * phrased).sum(axis=1).min() > 0.8
    assert ((phrased @ plain.T).argmax(axis=1) == np.arange(len(labels))).all()


def test_wordings_meet(encoder: CompactEncoder) -> None:
    rows = encoder.embed_text(
        ["a baby is crying", "crying baby", "a drill in the wall", "rain on the window"]
    )
    assert rows[0] @ rows[1] > 0.7
    assert rows[0] @ rows[1] > max(rows[0] @ rows[2], rows[0] @ rows[3]) + 0.2


def test_identity_names_the_weights(encoder: CompactEncoder) -> None:
    name, _, digest = encoder.identity.partition(":")
    assert name == "compact-1"
    assert len(digest) == 8
    assert encoder.rate_hz == RATE
    assert encoder.logit_scale > 1


def test_it_needs_no_torch() -> None:
    """Which alone would take 180 MB, and seconds at every start."""
    load = "import sys, monitor.encoders.compact as c; c.CompactEncoder.load().embed_text(['a dog'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{load}; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
