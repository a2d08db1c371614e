"""The compact encoder's audio network as it is trained; `monitor.encoders.compact_net` is what ships.

Nothing looks across time except convolutions, and those look back only (1.75 s in all), so a stream can be
computed piece by piece: each convolution needs the last rows of its input (`State`), none is computed twice.
Pooling over time comes last, from the frames' own numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.encoders.compact_net import NetConfig

State = list[Tensor]
"""The last rows of every time-convolution's input, in order of use; each (B, C, rows, F)."""


def unit(vectors: Tensor) -> Tensor:
    """Scale rows to unit length; rows of zeros stay finite."""
    return functional.normalize(vectors, dim=-1, eps=1e-6)


class CausalConv(nn.Module):
    """Convolution over (time, frequency) whose output row i sees input rows up to (i + 1) * stride - 1."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=(0, kernel[1] // 2))
        self.norm: nn.Module = nn.Identity()
        self.rows = kernel[0] - stride[0]

    def forward(self, x: Tensor, state: State | None, after: State) -> Tensor:
        """(B, C, T, F) to (B, C', T / stride, F').

        This layer's past rows come off `state`, the rows to go on from are added to `after`.
        """
        if self.rows > 0:
            x = (
                functional.pad(x, (0, 0, self.rows, 0))
                if state is None
                else torch.cat([state.pop(0), x], dim=2)
            )
            if not self.training:
                after.append(x[:, :, -self.rows :].clone())
        result: Tensor = self.norm(self.conv(x))
        return result


class Block(nn.Module):
    """Residual block: 3 x 3, then 1 x 3 (frequency only), with a 1 x 1 shortcut where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.first = CausalConv(inputs, outputs, (3, 3), stride)
        self.second = CausalConv(outputs, outputs, (1, 3), (1, 1))
        same = inputs == outputs and stride == (1, 1)
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, state: State | None, after: State) -> Tensor:
        """(B, C, T, F) to (B, C', T / stride, F / stride)."""
        y = functional.relu(self.first(x, state, after))
        y = self.second(y, state, after)
        if self.shortcut is not None:
            x = functional.avg_pool2d(x, self.stride) if self.stride != (1, 1) else x
            x = self.shortcut(x)
        return functional.relu(x + y)


class CompactNet(nn.Module):
    """Log-mel frames to frame vectors (`frames`), and those to a window's embedding and class logits."""

    def __init__(self, config: NetConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetConfig()
        a, b, c, d = self.config.widths
        self.stem = CausalConv(1, a, (7, 5), (4, 2))
        self.blocks = nn.ModuleList(
            [
                Block(a, b, (2, 2)),
                Block(b, b, (1, 1)),
                Block(b, c, (2, 2)),
                Block(c, c, (1, 1)),
                Block(c, d, (1, 2)),
                Block(d, d, (1, 1)),
                Block(d, d, (1, 1)),
            ]
        )
        self.frame = CausalConv(d, self.config.frame_width, (1, self.config.mels // 16), (1, 1))
        self.frame.conv.padding = (0, 0)
        self.hidden = nn.Linear(2 * self.config.frame_width, self.config.hidden)
        self.embedding = nn.Linear(self.config.hidden, self.config.dimensions)
        self.logits = nn.Linear(self.config.hidden, self.config.classes)

    def frames(self, decibels: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(B, T, mels) dB, T a multiple of STEP, to (B, T / STEP, frame_width) and the state to go on from.

        `state` None means that nothing is known of what came before: zeros, as in training.
        """
        x = ((decibels - self.config.mean_db) / self.config.deviation_db)[:, None]
        x = x.contiguous(memory_format=torch.channels_last)
        before, after = (None if state is None else list(state)), State()
        x = functional.relu(self.stem(x, before, after))
        for block in self.blocks:
            x = block(x, before, after)
        x = functional.relu(self.frame(x, before, after))
        return x.squeeze(3).transpose(1, 2), after

    @staticmethod
    def summary(frames: Tensor) -> Tensor:
        """(B, T, frame_width) to the mean and the maximum over time, (B, 2 * frame_width)."""
        return torch.cat([frames.mean(dim=1), frames.amax(dim=1)], dim=-1)

    def head(self, summary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Summaries to unit embeddings (B, dimensions), class logits (B, classes) and the hidden layer."""
        hidden = functional.relu(self.hidden(summary))
        return unit(self.embedding(hidden)), self.logits(hidden), hidden

    def forward(self, decibels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whole windows: (B, T, mels) dB to what `head` gives."""
        return self.head(self.summary(self.frames(decibels)[0]))
