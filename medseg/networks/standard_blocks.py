"""Blocks of ResNet whose weights are standardised and whose maps have group norm [1]_ [2]_.

References
----------
.. [1] Qiao et al., Micro-batch training with batch-channel normalization and weight
   standardization, arXiv 1903.10520.
.. [2] Kolesnikov et al., Big transfer (BiT), ECCV 2020, section 2.1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.encoders.base import Axes


def standardised(weight: Tensor) -> Tensor:
    """Bring each output channel's weights to mean 0 and variance 1."""
    rows = weight.flatten(1)
    variance, mean = torch.var_mean(rows, dim=1, keepdim=True, correction=0)
    return ((rows - mean) * (variance + 1e-5).rsqrt()).view_as(weight)


class _Standard2d(nn.Conv2d):
    """Convolution whose weights are standardised first (Qiao et al., arXiv 1903.10520)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, *spatial) to (B, out_channels, *spatial / stride)."""
        return functional.conv2d(x, standardised(self.weight), None, self.stride, self.padding)


class _Standard3d(nn.Conv3d):
    """The same in 3-D."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, *spatial) to (B, out_channels, *spatial / stride)."""
        return functional.conv3d(x, standardised(self.weight), None, self.stride, self.padding)


_STANDARD: dict[int, Any] = {2: _Standard2d, 3: _Standard3d}


def standard_unit(
    ndim: int, channels: int, width: int, kernel: Axes, stride: Axes, *, activate: bool = True
) -> nn.Sequential:
    """Return a standardised convolution, group norm and, if wanted, ReLU."""
    margin = tuple(k // 2 for k in kernel)
    conv = _STANDARD[ndim](channels, width, kernel, stride, margin, bias=False)
    unit = nn.Sequential(conv, nn.GroupNorm(math.gcd(32, width), width))
    return unit.append(nn.ReLU()) if activate else unit


class StandardBottleneck(nn.Module):
    """1x1 to ``width``, 3x3, 1x1 to four times ``width``, and the (projected) input."""

    def __init__(self, ndim: int, channels: int, width: int, kernel: Axes, stride: Axes) -> None:
        super().__init__()
        one, wide = (1,) * ndim, 4 * width
        self.body = nn.Sequential(
            standard_unit(ndim, channels, width, one, one),
            standard_unit(ndim, width, width, kernel, stride),
            standard_unit(ndim, width, wide, one, one, activate=False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if max(stride) > 1 or channels != wide:
            self.shortcut = standard_unit(ndim, channels, wide, one, stride, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, 4 * width, *spatial / stride)."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total.relu()
