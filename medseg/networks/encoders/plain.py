"""The way down of a U-Net as an encoder, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.arguments import level_axes
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Encoder, dilate, running_product
from medseg.networks.layers import ConvNormAct, scaled


class Plain(Encoder):
    """Two convolutions per map, of which the first has the stride [1]_.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    widths : sequence of int
        Channels of each map.
    width : float
        Multiplies them.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Per map and axis. Default: 2s; kernels of 3.
    output_stride : int or sequence of int, optional
        Strides beyond it turn into dilation.
    norm : {"instance", "batch", "group", "none"}

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021 (strided convolutions for poolings).
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        levels = len(widths)
        steps = level_axes(strides, (2,) * levels, ndim, levels, "strides")
        kernels = level_axes(kernel_sizes, (3,) * levels, ndim, levels, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        self.channels = tuple(scaled(w, width) for w in widths)
        self.strides, self.kernel = running_product(kept), kernels[-1]
        before, given = ((1,) * ndim, *rates), (in_channels, *self.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(
                    ndim, given[i], w, kernel=k, stride=kept[i], dilation=before[i], norm=norm
                ),
                ConvNormAct(ndim, w, w, kernel=k, dilation=rates[i], norm=norm),
            )
            for i, (w, k) in enumerate(zip(self.channels, kernels, strict=True))
        )
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to a map per stage, fine to coarse."""
        maps, x = [], image
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
