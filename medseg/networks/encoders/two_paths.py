"""The two paths of BiSeNet: a shallow one for detail beside an encoder for context."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.layers import ConvNormAct, PooledUnit, resize, scaled


class TwoPaths(Encoder):
    """Both paths and their fusion; three maps: two of the context path, and the fused one.

    Parameters
    ----------
    context : str
        A key of `medseg.networks.encoders.ENCODERS`; its last two maps are refined, and brought to
        the size of the one before them.
    ndim, in_channels : int
        Axes and channels of the image.
    width : float
    norm : str
    **arguments
        Of the context path.

    References
    ----------
    .. [1] Yu et al., BiSeNet: bilateral segmentation network for real-time semantic segmentation,
       ECCV 2018, figure 2.
    """

    def __init__(
        self,
        context: str,
        *,
        ndim: int,
        in_channels: int,
        width: float,
        norm: str,
        **arguments: Any,
    ) -> None:
        super().__init__()
        deep = build_encoder(
            context, ndim=ndim, in_channels=in_channels, width=width, norm=norm, **arguments
        )
        narrow, wide, one = scaled(64, width), scaled(128, width), (1,) * ndim
        kernel = deep.kernel
        steps = [
            tuple(c // f for c, f in zip(coarse, fine, strict=True))
            for fine, coarse in zip((one, *deep.strides), deep.strides[:3], strict=False)
        ]
        first = tuple(7 if k > 1 else 1 for k in kernel)
        self.spatial = nn.Sequential(
            ConvNormAct(ndim, in_channels, narrow, kernel=first, stride=steps[0], norm=norm),
            ConvNormAct(ndim, narrow, narrow, kernel=kernel, stride=steps[1], norm=norm),
            ConvNormAct(ndim, narrow, narrow, kernel=kernel, stride=steps[2], norm=norm),
            ConvNormAct(ndim, narrow, wide, kernel=one, norm=norm),
        )
        self.context = deep
        coarse, coarsest = deep.channels[-2:]
        self.whole = PooledUnit(ndim, coarsest, wide, bins=1)
        self.refine = nn.ModuleList(_Gated(ndim, c, wide, kernel, norm) for c in (coarse, coarsest))
        self.smooth = nn.ModuleList(
            ConvNormAct(ndim, wide, wide, kernel=kernel, norm=norm) for _ in range(2)
        )
        self.fuse = ConvNormAct(ndim, 2 * wide, 2 * wide, kernel=one, norm=norm)
        self.gate = PooledUnit(ndim, 2 * wide, 2 * wide, bins=1, activation=nn.Sigmoid)
        self.channels = (wide, wide, 2 * wide)
        self.strides = (deep.strides[2], deep.strides[3], deep.strides[2])
        self.kernel = kernel
        for part in (self.spatial, self.whole, self.refine, self.smooth, self.fuse, self.gate):
            part.apply(init_weights)

    @property
    def divisor(self) -> tuple[int, ...]:
        """That of the context path."""
        return self.context.divisor

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to maps at an eighth, a sixteenth and an eighth."""
        *_, eighth, coarse, coarsest = self.context(image)
        x = self.refine[1](coarsest) + self.whole(coarsest)
        low = self.smooth[1](resize(x, coarse.shape[2:]))
        high = self.smooth[0](resize(self.refine[0](coarse) + low, eighth.shape[2:]))
        both = self.fuse(torch.cat((self.spatial(image), high), dim=1))  # feature fusion module
        return [high, low, both + both * self.gate(both)]


class _Gated(nn.Module):
    """Attention refinement module: a convolution whose channels are gated by their means."""

    def __init__(
        self, ndim: int, channels: int, width: int, kernel: tuple[int, ...], norm: str
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(ndim, channels, width, kernel=kernel, norm=norm)
        self.gate = PooledUnit(ndim, width, width, bins=1, activation=nn.Sigmoid)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial)."""
        y: Tensor = self.conv(x)
        out: Tensor = y * self.gate(y)
        return out
