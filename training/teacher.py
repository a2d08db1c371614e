"""The teacher, EfficientAT's mn04_as (MIT): its 32 kHz front end in torch, its graph with one more output."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

RATE_HZ = 32000
HOP = 320
FEATURE = "hardswish_20"
"""The graph's penultimate activation, 512 numbers: distilled as an auxiliary target."""


def mel_filters() -> Tensor:
    """Build 128 unnormalised HTK-style triangles up to 15 kHz, shape (512, 128), without the Nyquist bin."""

    def mel(frequency_hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + frequency_hz / 700.0)

    corners = np.linspace(0.0, mel(np.array(15000.0)), 130)
    bins = mel(np.arange(512) * RATE_HZ / 1024)
    rising = (bins[:, None] - corners[None, :-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[None, 2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


class Teacher:
    """Spectrograms and logits of the 527 AudioSet classes."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load `mn04_as.onnx` and `audioset_527.csv` from `folder`."""
        graph = onnx.load(folder / "mn04_as.onnx")
        graph.graph.output.append(onnx.helper.make_tensor_value_info(FEATURE, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        with (folder / "audioset_527.csv").open(newline="") as file:
            self.names = [row["display_name"] for row in csv.DictReader(file)]
        self.filters = mel_filters()
        self.window = torch.hann_window(800, periodic=False)

    def spectrogram(self, samples: Tensor) -> Tensor:
        """(B, N) at 32 kHz to (B, frames, 128)."""
        emphasised = samples[:, 1:] - 0.97 * samples[:, :-1]
        spectrum = torch.stft(
            emphasised, 1024, HOP, 800, self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = (spectrum.real.square() + spectrum.imag.square())[:, :512]
        return (torch.log(power.transpose(1, 2) @ self.filters + 1e-5) + 4.5) / 5.0

    def __call__(self, spectrogram: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Logits (B, 527) and penultimate features (B, 512)."""
        spec = spectrogram.transpose(1, 2)[:, None].contiguous().numpy()
        logits, features = self.session.run(["logits", FEATURE], {"spec": spec})
        return logits.reshape(len(spec), -1), features.reshape(len(spec), -1)
