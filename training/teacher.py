"""The teacher, EfficientAT's mn04_as (MIT), in torch: its 32 kHz front end, and its graph on any device."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

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


class Teacher(nn.Module):
    """Spectrograms, and logits of the 527 AudioSet classes."""

    filters: Tensor
    window: Tensor

    def __init__(self, folder: Path) -> None:
        """Read `mn04_as.onnx` and `audioset_527.csv` from `folder`."""
        super().__init__()
        graph = onnx.load(folder / "mn04_as.onnx").graph
        self.steps: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.weights = nn.ParameterDict()
        for tensor in graph.initializer:
            value = np.array(onnx.numpy_helper.to_array(tensor))
            if value.dtype == np.float32:
                self.weights[_key(tensor.name)] = nn.Parameter(torch.from_numpy(value), requires_grad=False)
        for node in graph.node:
            settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type not in _SHAPES:
                self.steps.append((node.op_type, list(node.input), node.output[0], settings))
        with (folder / "audioset_527.csv").open(newline="") as file:
            self.names = [row["display_name"] for row in csv.DictReader(file)]
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(800, periodic=False), persistent=False)

    def spectrogram(self, samples: Tensor) -> Tensor:
        """(B, N) at 32 kHz to (B, frames, 128)."""
        emphasised = samples[:, 1:] - 0.97 * samples[:, :-1]
        spectrum = torch.stft(
            emphasised, 1024, HOP, 800, self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = (spectrum.real.square() + spectrum.imag.square())[:, :512]
        return (torch.log(power.transpose(1, 2) @ self.filters + 1e-5) + 4.5) / 5.0

    @torch.no_grad()
    def forward(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """(B, frames, 128) to logits (B, 527) and penultimate features (B, 512)."""
        values: dict[str, Tensor] = {"spec": spectrogram.transpose(1, 2)[:, None]}
        for kind, inputs, output, settings in self.steps:
            known = [
                values[n] if n in values else self.weights[_key(n)]
                for n in inputs
                if n in values or _key(n) in self.weights
            ]
            values[output] = _step(kind, known, settings)
        return values["logits"].float(), values[FEATURE].float()


_SHAPES = {"Shape", "Concat"}
"""They compute what the graph's reshapes are told, which here follows from the step before."""


def _key(name: str) -> str:
    return name.replace(".", "/")


def _step(kind: str, inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    if kind == "Conv":
        strides, dilations, groups = settings["strides"], settings["dilations"], settings["group"]
        return functional.conv2d(*inputs, strides, settings["pads"][:2], dilations, groups)
    return _STEPS[kind](*inputs)


_STEPS: dict[str, Callable[..., Tensor]] = {
    "HardSwish": functional.hardswish,
    "Relu": functional.relu,
    "Gemm": functional.linear,
    "Add": torch.add,
    "Mul": torch.mul,
    "ReduceMean": lambda x: x.mean((2, 3)),  # over a map, before the gates and the classifier
    "Sigmoid": lambda x: torch.sigmoid(x)[:, :, None, None],  # a gate for each channel of a map
    # Maxima of one, and shapes.
    **dict.fromkeys(("Unsqueeze", "ReduceMax", "Squeeze", "Reshape"), lambda x: x),
}
