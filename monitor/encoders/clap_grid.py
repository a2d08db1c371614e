"""Where the tokens of CLAP's image lie: attention windows, cyclic shifts and merges as places to gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHIFTED_APART = -100.0
"""What transformers adds to the attention between tokens that only the cyclic shift made neighbours."""


class UnrecognisedTowerError(Exception):
    """The checkpoint's audio tower isn't the one that is rewritten here."""


@dataclass(frozen=True)
class Grid:
    """How the tokens of a square image lie in attention windows, cyclically shifted or not."""

    side: int
    window: int
    shift: int

    def __post_init__(self) -> None:
        if self.side % self.window:
            msg = f"{self.side} x {self.side} tokens don't divide into windows of {self.window}"
            raise UnrecognisedTowerError(msg)

    def _partition(self, image: Tensor) -> Tensor:
        count = self.side // self.window
        shifted = image.roll((-self.shift, -self.shift), (0, 1))
        windows = shifted.view(count, self.window, count, self.window).transpose(1, 2)
        return windows.reshape(count * count, self.window**2)

    def groups(self) -> list[tuple[Tensor, Tensor]]:
        """Windows that share a shift mask: ((windows, tokens) raster places, (tokens, tokens) mask) each."""
        places = self._partition(torch.arange(self.side**2).view(self.side, self.side))
        if not self.shift:
            return [(places, torch.zeros(self.window**2, self.window**2))]
        wrapped = (torch.arange(self.side) < self.shift).long()
        regions = self._partition(2 * wrapped[:, None] + wrapped[None, :])
        masks = torch.where(regions[:, :, None] == regions[:, None, :], 0.0, SHIFTED_APART)
        kinds, kind_of = torch.unique(masks, dim=0, return_inverse=True)
        return [(places[kind_of == kind], kinds[kind]) for kind in range(len(kinds))]

    def order(self) -> Tensor:
        """Raster places of the tokens, (windows, tokens), in the order in which this grid attends."""
        return torch.cat([places for places, _ in self.groups()])


def move(source: Grid, wanted: Tensor) -> Callable[[int], Tensor]:
    """Return what tells, per batch size, the rows of `source` to gather for `wanted` places (windows, n)."""
    slot_of = torch.empty(source.side**2, dtype=torch.long)
    slot_of[source.order().flatten()] = torch.arange(source.side**2)
    slots = slot_of[wanted]
    tokens = source.window**2

    def rows(batch: int) -> Tensor:
        window, token = slots // tokens, slots % tokens
        image = torch.arange(batch)[None, :, None]
        return ((window[:, None, :] * batch + image) * tokens + token[:, None, :]).flatten()

    return rows


def merged(side: int, order: Tensor) -> Tensor:
    """Raster places of the 2 x 2 tokens that make each of the next, smaller, image: (windows, 4 tokens)."""
    row, column = order // (side // 2), order % (side // 2)
    corners = [(2 * row + down) * side + 2 * column + right for right in (0, 1) for down in (0, 1)]
    return torch.stack(corners, dim=-1).flatten(1)
