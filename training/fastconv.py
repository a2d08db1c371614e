"""Convolution over frequency as one matrix product.

On wide small maps oneDNN's bf16 backward pass takes twice as long.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernel: int) -> Tensor:
        """x: padded (B, T, F, C); weight: (kernel * C, O)."""
        bands = x.shape[2] - kernel + 1
        columns = torch.cat([x[:, :, j : j + bands] for j in range(kernel)], dim=-1).view(-1, weight.shape[0])
        ctx.save_for_backward(columns, weight)
        ctx.shape, ctx.kernel = x.shape, kernel
        return (columns @ weight).view(x.shape[0], x.shape[1], bands, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        columns, weight = ctx.saved_tensors
        bands = gradient.shape[2]
        flat = gradient.reshape(-1, weight.shape[1])
        pieces = (flat @ weight.T).view(*gradient.shape[:3], ctx.kernel, ctx.shape[3])
        for_x = gradient.new_zeros(ctx.shape)
        for j in range(ctx.kernel):
            for_x[:, :, j : j + bands] += pieces[:, :, :, j]
        return for_x, columns.T @ flat, None


class FastConv(nn.Conv2d):
    """`Conv2d` of kernel (1, k), stride 1, no bias, for training on a CPU with bf16 matrix units."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, F) channels-last to the same."""
        if not self.training:
            return super().forward(x)
        x = functional.pad(x.to(torch.bfloat16).permute(0, 2, 3, 1), (0, 0, self.padding[1], self.padding[1]))
        kernel = self.weight[:, :, 0].permute(2, 1, 0).reshape(-1, self.out_channels).to(torch.bfloat16)
        return _Product.apply(x.contiguous(), kernel, self.kernel_size[1]).permute(0, 3, 1, 2)
