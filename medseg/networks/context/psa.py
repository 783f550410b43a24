"""Point-wise spatial attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV
from medseg.networks.layers import ConvNormAct, resize


class PointwiseAttention(nn.Module):
    """Every voxel collects from, and distributes to, every other by learnt offset maps [1]_.

    A voxel predicts one weight for each offset, an over-complete map; the softmax over the voxels
    that gives takes the place of the paper's factor 1/N. It works on a grid of a ``shrink``-th of
    the map, at most ``(mask + 1) / 2`` a side, so that every offset has its weight.

    Parameters
    ----------
    ndim, channels, out_channels : int
        The attention has ``out_channels``.
    kernel : tuple of int
        Of the fusing convolution.
    norm : str
    mask : int
        Odd side of the over-complete map: offsets of up to ``(mask - 1) / 2`` each way.
    shrink : int

    References
    ----------
    .. [1] Zhao et al., PSANet: point-wise spatial attention network for scene parsing, ECCV 2018,
       figures 2 and 3.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, ...],
        norm: str,
        mask: int,
        shrink: int = 2,
    ) -> None:
        super().__init__()
        self.mask, self.shrink, one = mask, shrink, (1,) * ndim
        self.reduce, self.offsets = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):  # collect, distribute
            self.reduce.append(ConvNormAct(ndim, channels, out_channels, kernel=one, norm=norm))
            self.offsets.append(
                nn.Sequential(
                    ConvNormAct(ndim, out_channels, out_channels, kernel=one, norm=norm),
                    CONV[ndim](out_channels, mask**ndim, 1, bias=False),
                )
            )
        self.project = ConvNormAct(ndim, 2 * out_channels, channels, kernel=one, norm=norm)
        self.fuse = ConvNormAct(ndim, 2 * channels, out_channels, kernel=kernel, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        most = (self.mask + 1) // 2
        # never a single voxel, of which there are no statistics
        grid = tuple(min(most, n, max(2, -(-n // self.shrink))) for n in x.shape[2:])
        reduced = [resize(f(x), grid) for f in self.reduce]
        over = [f(y).flatten(2) for f, y in zip(self.offsets, reduced, strict=True)]
        index = offset_index(grid, self.mask, x.device)  # (N, N): of target j seen from i
        # collect: voxel i's own weights of all j; distribute: the weights that all j have for i
        seen = [o.gather(1, index.T.expand(o.shape[0], -1, -1)) for o in over]  # (B, j, i)
        collect, distribute = seen[0].softmax(dim=1), seen[1].transpose(1, 2).softmax(dim=1)
        values = [y.flatten(2) for y in reduced]  # (B, C, N)
        both = torch.cat((values[0] @ collect, values[1] @ distribute), dim=1)
        context = resize(self.project(both.reshape(*both.shape[:2], *grid)), x.shape[2:])
        out: Tensor = self.fuse(torch.cat((x, context), dim=1))
        return out


def offset_index(grid: tuple[int, ...], mask: int, device: torch.device) -> Tensor:
    """Return which entry of the over-complete map says the offset from each voxel to each other.

    Examples
    --------
    >>> offset_index((2,), 3, torch.device("cpu"))
    tensor([[1, 2],
            [0, 1]])
    """
    axes = [torch.arange(n, device=device) for n in grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)  # (N, ndim)
    offset = places[None] - places[:, None] + mask // 2  # (i, j, ndim)
    index = torch.zeros_like(offset[..., 0])
    for along in offset.unbind(-1):
        index = index * mask + along
    return index
