"""Efficient spatial pyramid: the block of ESPNet and Y-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV, make_norm

RATES = (1, 2, 4, 8)


class SpatialPyramid(nn.Module):
    """Reduce, convolve at four rates, add up from rate to rate, concatenate, add the input [1]_.

    References
    ----------
    .. [1] Mehta et al., ESPNet: efficient spatial pyramid of dilated convolutions for semantic
       segmentation, ECCV 2018, section 3.1.
    """

    def __init__(self, ndim: int, channels: int, kernel: tuple[int, ...], norm: str) -> None:
        super().__init__()
        narrow, conv = channels // len(RATES), CONV[ndim]
        self.reduce = conv(channels, narrow, 1, bias=False)
        self.branches = nn.ModuleList(
            conv(
                narrow,
                narrow,
                kernel,  # type: ignore[arg-type]
                padding=tuple(rate * (k // 2) for k in kernel),  # type: ignore[arg-type]
                dilation=rate,
                bias=False,
            )
            for rate in RATES
        )
        self.norm = nn.Sequential(make_norm(norm, ndim, channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        narrow = self.reduce(x)
        made = [self.branches[0](narrow)]
        for branch in self.branches[1:]:
            made.append(made[-1] + branch(narrow))
        out: Tensor = self.norm(x + torch.cat(made, dim=1))
        return out
