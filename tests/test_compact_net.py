"""The compact encoder's network in plain arrays equals the one that is trained, piece by piece too."""

import numpy as np
import pytest
import torch

from monitor.encoders.compact_net import STEP, CompactNet, NetConfig
from training.net import CompactNet as TrainedNet


@pytest.fixture(scope="module")
def nets() -> tuple[CompactNet, TrainedNet]:
    torch.manual_seed(0)
    trained = TrainedNet().eval()
    for module in trained.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    weights = {name: tensor.numpy() for name, tensor in trained.state_dict().items()}
    return CompactNet(NetConfig(), weights), trained


def log_mels(batch: int, frames: int) -> np.ndarray:
    rng = np.random.default_rng(batch)
    level = 15.0 * rng.standard_normal((batch, 1, 64))
    return (level + 15.0 * rng.standard_normal((batch, frames, 64)) - 40.0).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 3, 16, 65])
@pytest.mark.parametrize("frames", [STEP, 48, 1008])
def test_frames_equal_the_trained_network(nets, batch: int, frames: int) -> None:
    ours, trained = nets
    if batch * frames > 16 * 1008:
        frames = 4 * STEP
    decibels = log_mels(batch, frames)
    with torch.inference_mode():
        expected = trained.frames(torch.from_numpy(decibels))[0].numpy()
    assert expected.max() > 1.0
    np.testing.assert_allclose(ours.frames(decibels, ours.start(batch)), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("cuts", [[STEP], [3 * STEP, 4 * STEP], [5 * STEP, 8 * STEP]])
def test_pieces_equal_the_whole(nets, cuts: list[int]) -> None:
    ours, _ = nets
    decibels = log_mels(3, 12 * STEP)
    state = ours.start(3)
    pieces = [ours.frames(piece, state) for piece in np.split(decibels, cuts, axis=1)]
    whole = ours.frames(decibels, ours.start(3))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-5, atol=1e-4)


def test_a_batch_equals_its_rows_one_by_one(nets) -> None:
    ours, _ = nets
    decibels = log_mels(7, 3 * STEP)
    together = ours.frames(decibels, ours.start(7))
    apart = np.concatenate([ours.frames(row[None], ours.start()) for row in decibels])
    np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-4)


def test_the_head_equals_the_trained_network(nets) -> None:
    ours, trained = nets
    frames = np.abs(log_mels(5, 8)).repeat(8, axis=2) / 40.0
    summaries = np.stack([ours.summary(rows) for rows in frames])
    with torch.inference_mode():
        expected = trained.head(trained.summary(torch.from_numpy(frames)))
    for got, wanted in zip(ours.head(summaries), expected, strict=False):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)
