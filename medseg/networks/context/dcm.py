"""Dynamic convolutional modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import CONV, make_norm
from medseg.networks.layers import ADAPTIVE_POOL, ConvNormAct

_CONVOLVE = {4: functional.conv2d, 5: functional.conv3d}  # by the number of axes of a tensor


class DynamicFilters(nn.Module):
    """One dynamic convolutional module per size beside the map, fused by a convolution [1]_.

    Parameters
    ----------
    ndim, channels, out_channels : int
        Each branch has ``out_channels`` too.
    kernel : tuple of int
        Of the fusing convolution; the filters have size 1 along the axes where it has.
    norm : str
    sizes : sequence of int
        Odd sides of the filters.

    References
    ----------
    .. [1] He, Deng and Qiao, Dynamic multi-scale filters for semantic segmentation, ICCV 2019,
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
        sizes: Sequence[int] = (1, 3, 5, 7),
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            DynamicFilter(
                ndim,
                channels,
                out_channels,
                size=tuple(size if k > 1 else 1 for k in kernel),
                norm=norm,
            )
            for size in sizes
        )
        wide = channels + len(sizes) * out_channels
        self.fuse = ConvNormAct(ndim, wide, out_channels, kernel=kernel, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        out: Tensor = self.fuse(torch.cat((x, *(branch(x) for branch in self.branches)), dim=1))
        return out


class DynamicFilter(nn.Module):
    """The map, pooled to the size of a filter, is the filter of each of its channels."""

    def __init__(
        self, ndim: int, channels: int, out_channels: int, *, size: tuple[int, ...], norm: str
    ) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            ADAPTIVE_POOL[ndim](size),
            CONV[ndim](channels, out_channels, 1),
        )
        self.reduce = ConvNormAct(ndim, channels, out_channels, kernel=(1,) * ndim, norm=norm)
        self.after = nn.Sequential(make_norm(norm, ndim, out_channels), nn.ReLU(inplace=True))
        self.margin = tuple(k // 2 for k in size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        filters, y = self.filters(x), self.reduce(x)  # (B, C, *size), (B, C, *spatial)
        # every channel of every case has its own filter, so they are all channels of one image
        flat = y.flatten(0, 1).unsqueeze(0)
        seen = _CONVOLVE[x.ndim](
            flat, filters.flatten(0, 1).unsqueeze(1), padding=self.margin, groups=flat.shape[1]
        )
        out: Tensor = self.after(seen.reshape(y.shape))
        return out
