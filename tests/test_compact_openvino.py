"""The compact encoder's network as an OpenVINO graph equals that in plain arrays."""

import numpy as np
import pytest

from monitor.config import EncoderConfig
from monitor.encoders import load_encoder
from monitor.types import Window

openvino = pytest.importorskip("openvino")

RATE_HZ = 48000


def windows(turn: int, sources: int) -> list[Window]:
    """Noises of rising level, each source one of its own, in windows that overlap."""
    first = turn * RATE_HZ // 2
    rows = []
    for source in range(sources):
        rng = np.random.default_rng(source)
        samples = rng.standard_normal(6 * RATE_HZ) * np.logspace(-3, -1 + 0.1 * source, 6 * RATE_HZ)
        piece = samples[first : first + 2 * RATE_HZ].astype(np.float32)
        rows.append(Window(f"s{source}", first, RATE_HZ, piece, 0.0, 2.0, -20.0))
    return rows


@pytest.mark.parametrize("sources", [1, 2, 3, 5, 16])
def test_streams_equal_plain_arrays_at_every_batch_size(sources: int) -> None:
    graph, plain = load_encoder(EncoderConfig(runtime="openvino")), load_encoder(EncoderConfig())
    for turn in range(6):
        ours, expected = (each.embed_audio(windows(turn, sources)) for each in (graph, plain))
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_array_equal(graph.embed_text(["a dog"]), plain.embed_text(["a dog"]))


@pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor has no bfloat16",
)
def test_half_precision_drifts_little_and_does_not_add_up() -> None:
    half, plain = (
        load_encoder(EncoderConfig(runtime="openvino", dtype="bfloat16")),
        load_encoder(EncoderConfig()),
    )
    cosines = [
        (half.embed_audio(windows(turn, 4)) * plain.embed_audio(windows(turn, 4))).sum(axis=1)
        for turn in range(8)
    ]
    assert np.min(cosines) > 0.995
    assert np.min(cosines) < 1.0 - 1e-6
