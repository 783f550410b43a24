"""Large kernels made of strips, and the refinement of borders: the parts of GCN [1]_.

References
----------
.. [1] Peng et al., Large kernel matters: improve semantic segmentation by global convolutional
   network, CVPR 2017, figure 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV, same_conv
from medseg.networks.encoders.base import Axes


class LargeKernel(nn.Module):
    """The sum of rows of strips, each row along all axes in turn."""

    def __init__(self, ndim: int, channels: int, width: int, kernel: Axes) -> None:
        super().__init__()
        one = (1,) * ndim
        axes = [axis for axis in range(ndim) if kernel[axis] > 1]
        self.rows = nn.ModuleList()
        for first in range(len(axes)):
            row, given = nn.Sequential(), channels
            for axis in axes[first:] + axes[:first]:
                strip = tuple(kernel[a] if a == axis else 1 for a in range(ndim))
                row.append(same_conv(ndim, given, width, strip, one, bias=True))
                given = width
            self.rows.append(row)
        if not axes:
            self.rows.append(CONV[ndim](channels, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial)."""
        return torch.stack([row(x) for row in self.rows]).sum(0)


class BoundaryRefine(nn.Module):
    """Boundary refinement: convolution, ReLU, convolution, and the input added."""

    def __init__(self, ndim: int, width: int, kernel: Axes) -> None:
        super().__init__()
        one = (1,) * ndim
        self.body = nn.Sequential(
            same_conv(ndim, width, width, kernel, one, bias=True),
            nn.ReLU(),
            same_conv(ndim, width, width, kernel, one, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = x + self.body(x)
        return out
