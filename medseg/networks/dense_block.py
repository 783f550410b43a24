"""Dense blocks: each layer sees the maps of all layers before it [1]_.

References
----------
.. [1] Huang et al., Densely connected convolutional networks, CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import make_norm, same_conv


class DenseBlock(nn.Module):
    """Layers that each see the input and the maps of all layers before; returns the new maps."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        count: int,
        growth: int,
        kernel: tuple[int, ...],
        dropout: float,
        norm: str,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            dense_layer(ndim, channels + i * growth, growth, kernel, dropout, norm)
            for i in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, count * growth, *spatial)."""
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, dim=1)))
        return torch.cat(maps[1:], dim=1)


def dense_layer(
    ndim: int, channels: int, out_channels: int, kernel: tuple[int, ...], dropout: float, norm: str
) -> nn.Sequential:
    """Return normalisation, ReLU, convolution and dropout."""
    return nn.Sequential(
        make_norm(norm, ndim, channels),
        nn.ReLU(),
        same_conv(ndim, channels, out_channels, kernel, (1,) * ndim, bias=True),
        nn.Dropout(dropout),
    )
