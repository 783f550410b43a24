"""The two branches of BiSeNet v2 and their guided aggregation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.arguments import level_axes, odd_kernel
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Encoder, running_product
from medseg.networks.encoders.bilateral_parts import Aggregate, GatherExpand, Stem
from medseg.networks.layers import Affine, ConvNormAct, PooledUnit, scaled


class Bilateral(Encoder):
    """Both branches and their aggregation [1]_: four maps of the thin branch, and the joint one.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    width : float
        Multiplies all channels.
    expansion : int
        Of the gather-and-expansion layers.
    strides : sequence of (int or tuple of int), optional
        Five steps, per axis where wanted; default 2. The detail branch takes the first three.
    kernel_size : int or tuple of int
        Odd.
    norm : {"instance", "batch", "group", "none"}
        Of all but what is pooled to single values.

    References
    ----------
    .. [1] Yu et al., BiSeNet V2: bilateral network with guided aggregation for real-time semantic
       segmentation, IJCV 129, 2021, table 1 and figures 4 to 6.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        width: float = 1.0,
        expansion: int = 6,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        kernel = odd_kernel(kernel_size, ndim)
        fine, wide = scaled(64, width), scaled(128, width)
        self.detail, given = nn.Sequential(), in_channels
        for step, w, count in zip(steps, (fine, fine, wide), (2, 3, 3), strict=False):
            for i in range(count):
                here = step if i == 0 else (1,) * ndim
                self.detail.append(
                    ConvNormAct(ndim, given, w, kernel=kernel, stride=here, norm=norm)
                )
                given = w
        thin = [scaled(w, width) for w in (16, 32, 64, 128)]
        self.stem = Stem(ndim, in_channels, thin[0], steps, kernel, norm)
        self.stages = nn.ModuleList()
        for i, count in enumerate((2, 2, 4), start=1):
            stage = nn.Sequential(
                GatherExpand(ndim, thin[i - 1], thin[i], expansion, steps[i + 1], kernel, norm)
            )
            for _ in range(count - 1):
                stage.append(
                    GatherExpand(ndim, thin[i], thin[i], expansion, (1,) * ndim, kernel, norm)
                )
            self.stages.append(stage)
        self.whole = nn.Sequential(
            Affine(ndim, thin[3]), PooledUnit(ndim, thin[3], thin[3], bins=1)
        )
        self.embed = ConvNormAct(ndim, thin[3], wide, kernel=kernel, norm=norm)
        self.join = Aggregate(ndim, wide, steps[3:], kernel, norm)
        total = running_product(steps)
        self.channels, self.strides = (*thin, wide), (*total[1:], total[2])
        self.kernel = kernel
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to maps at 1/4, 1/8, 1/16, 1/32 and 1/8."""
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        last = maps[-1]
        mean = last.flatten(2).mean(-1)[(..., *(None,) * (last.ndim - 2))]
        context = self.embed(last + self.whole(mean))
        return [*maps, self.join(self.detail(image), context)]
