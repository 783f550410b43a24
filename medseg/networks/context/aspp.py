"""Atrous spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.encoders import Encoder
from medseg.networks.layers import ConvNormAct, PooledUnit, Separable, resize


class ASPP(nn.Module):
    """A 1x1 convolution, dilated ones and image pooling side by side, fused by a convolution [1]_.

    Parameters
    ----------
    ndim, channels, out_channels : int
        Each branch has ``out_channels`` too.
    rates : sequence of int
        Dilation of each dilated branch. One that reaches past the map acts as a 1x1 convolution.
    kernel : tuple of int
        Of the dilated convolutions.
    norm : str
        The pooled branch has none.
    separable : bool
        Make the dilated convolutions depthwise separable [2]_.
    fuse_kernel : int
        Side of the fusing convolution, where the others have one; 1 in [1]_.

    References
    ----------
    .. [1] Chen et al., Rethinking atrous convolution, arXiv 1706.05587, section 3.3.
    .. [2] Chen et al., Encoder-decoder with atrous separable convolution, ECCV 2018.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        rates: Sequence[int],
        kernel: tuple[int, ...],
        norm: str,
        separable: bool = False,
        fuse_kernel: int = 3,
    ) -> None:
        super().__init__()
        dilated = Separable if separable else ConvNormAct
        self.branches = nn.ModuleList(
            [ConvNormAct(ndim, channels, out_channels, kernel=(1,) * ndim, norm=norm)]
        )
        for rate in rates:
            self.branches.append(
                dilated(ndim, channels, out_channels, kernel=kernel, dilation=rate, norm=norm)
            )
        self.pooled = PooledUnit(ndim, channels, out_channels, bins=1)
        wide = (2 + len(rates)) * out_channels
        fusing = tuple(fuse_kernel if k > 1 else 1 for k in kernel)
        self.fuse = ConvNormAct(ndim, wide, out_channels, kernel=fusing, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        seen = [branch(x) for branch in self.branches]
        out: Tensor = self.fuse(torch.cat((resize(self.pooled(x), x.shape[2:]), *seen), dim=1))
        return out


def make_aspp(
    encoder: Encoder,
    ndim: int,
    out_channels: int,
    *,
    rates: Sequence[int] | None,
    norm: str,
    separable: bool = False,
    fuse_kernel: int = 3,
) -> ASPP:
    """Return the pyramid for an encoder's last map; without ``rates`` with `default_rates`."""
    return ASPP(
        ndim,
        encoder.channels[-1],
        out_channels,
        rates=default_rates(encoder) if rates is None else rates,
        kernel=encoder.kernel,
        norm=norm,
        separable=separable,
        fuse_kernel=fuse_kernel,
    )


def default_rates(encoder: Encoder) -> tuple[int, ...]:
    """Return 12, 24 and 36 for output stride 8, 6, 12 and 18 for 16, and so on (at least 1)."""
    stride = max(encoder.strides[-1])
    return tuple(max(1, 8 * rate // stride) for rate in (12, 24, 36))
