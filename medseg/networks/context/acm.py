"""Adaptive context modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV
from medseg.networks.layers import ConvNormAct, PooledUnit


class AdaptiveContexts(nn.Module):
    """One adaptive context module per scale beside the map itself, fused by a convolution [1]_.

    Parameters
    ----------
    ndim, channels, out_channels : int
        Each branch has ``out_channels`` too.
    kernel : tuple of int
        Of the fusing convolution.
    norm : str
        Of all units but those on pooled maps.
    bins : sequence of int
        Regions per axis of each branch.

    References
    ----------
    .. [1] He et al., Adaptive pyramid context network for semantic segmentation, CVPR 2019,
       figure 2.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, ...],
        norm: str,
        bins: Sequence[int] = (1, 2, 3, 6),
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            AdaptiveContext(ndim, channels, out_channels, bins=b, norm=norm) for b in bins
        )
        wide = channels + len(bins) * out_channels
        self.fuse = ConvNormAct(ndim, wide, out_channels, kernel=kernel, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        out: Tensor = self.fuse(torch.cat((x, *(branch(x) for branch in self.branches)), dim=1))
        return out


class AdaptiveContext(nn.Module):
    """Each voxel sums pooled regions with weights that it and the whole map decide."""

    def __init__(
        self, ndim: int, channels: int, out_channels: int, *, bins: int, norm: str
    ) -> None:
        super().__init__()
        one = (1,) * ndim
        self.reduce = ConvNormAct(ndim, channels, out_channels, kernel=one, norm=norm)
        self.regions = PooledUnit(ndim, channels, out_channels, bins=bins)
        self.whole = PooledUnit(ndim, out_channels, out_channels, bins=1)
        self.affinity = CONV[ndim](out_channels, bins**ndim, 1)
        self.transform = ConvNormAct(ndim, out_channels, out_channels, kernel=one, norm=norm)
        self.fuse = ConvNormAct(ndim, out_channels, out_channels, kernel=one, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        regions = self.regions(x).flatten(2)  # (B, C, S), S regions
        y = self.reduce(x)
        weights = self.affinity(y + self.whole(y)).sigmoid().flatten(2)  # (B, S, N)
        context = (regions @ weights).reshape(y.shape)  # the paper's equation 1
        out: Tensor = self.fuse((self.transform(context) + y).relu())
        return out
