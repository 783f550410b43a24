"""Pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.layers import ConvNormAct, PooledUnit, resize


class PyramidPooling(nn.Module):
    """Averages over coarse regions beside the map itself, fused by a convolution [1]_.

    Parameters
    ----------
    ndim, channels, out_channels : int
        Each pooled branch has ``out_channels`` too.
    bins : sequence of int
        Regions per axis of each branch.
    kernel : tuple of int
        Of the fusing convolution.
    norm : str
        Of the fusing convolution; pooled branches have none.

    References
    ----------
    .. [1] Zhao et al., Pyramid scene parsing network, CVPR 2017, section 3.2.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        bins: Sequence[int],
        kernel: tuple[int, ...],
        norm: str,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            PooledUnit(ndim, channels, out_channels, bins=b) for b in bins
        )
        wide = channels + len(bins) * out_channels
        self.fuse = ConvNormAct(ndim, wide, out_channels, kernel=kernel, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        pooled = [resize(branch(x), x.shape[2:]) for branch in self.branches]
        out: Tensor = self.fuse(torch.cat((x, *pooled), dim=1))
        return out
