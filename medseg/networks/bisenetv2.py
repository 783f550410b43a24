"""BiSeNet v2 in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.arguments import level_axes, odd_kernel
from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import AVERAGE_POOL, init_weights
from medseg.networks.encoders.base import Axes, Encoder, running_product
from medseg.networks.heads import FCNHead
from medseg.networks.layers import (
    MAX_POOL,
    Affine,
    ConvNormAct,
    PooledUnit,
    Separable,
    resize,
    scaled,
)

ZERO_PAD: dict[int, Callable[..., nn.Module]] = {2: nn.ZeroPad2d, 3: nn.ZeroPad3d}


class BiSeNetV2(EncoderNetwork):
    """A wide shallow branch and a thin deep one, each guiding the other where they join [1]_.

    3.36 M parameters with 19 classes in 2-D, 14.80 M with the four auxiliary heads, whose weight
    is 1.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
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
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on each stage of the thin branch.

    References
    ----------
    .. [1] Yu et al., BiSeNet V2: bilateral network with guided aggregation for real-time semantic
       segmentation, IJCV 129, 2021, table 1 and figures 4 to 6.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        width: float = 1.0,
        expansion: int = 6,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
        dropout: float = 0.1,
        auxiliary: bool = True,
    ) -> None:
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        branches = Bilateral(
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            expansion=expansion,
            steps=steps,
            kernel=odd_kernel(kernel_size, ndim),
            norm=norm,
        )
        heads = [
            FCNHead(
                branches,
                num_classes,
                ndim=ndim,
                level=level,
                channels=scaled(channels, width),
                convs=convs,
                concat=False,
                norm=norm,
                dropout=dropout,
            )
            for level, channels, convs in (
                (4, 1024, 1),
                (0, 16, 2),
                (1, 64, 2),
                (2, 256, 2),
                (3, 1024, 2),
            )
        ]
        super().__init__(branches, heads[0], heads[1:] if auxiliary else [])
        self.ndim = ndim


class Bilateral(Encoder):
    """Both branches and their aggregation; five maps: four of the thin branch, and the joint one.

    Parameters
    ----------
    ndim, in_channels : int
    width : float
    expansion : int
    steps : sequence of tuple of int
    kernel : tuple of int
    norm : str
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        width: float,
        expansion: int,
        steps: Sequence[Axes],
        kernel: Axes,
        norm: str,
    ) -> None:
        super().__init__()
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
        self.stem = _Stem(ndim, in_channels, thin[0], steps, kernel, norm)
        self.stages = nn.ModuleList()
        for i, count in enumerate((2, 2, 4), start=1):
            stage = nn.Sequential(
                _Expand(ndim, thin[i - 1], thin[i], expansion, steps[i + 1], kernel, norm)
            )
            for _ in range(count - 1):
                stage.append(_Expand(ndim, thin[i], thin[i], expansion, (1,) * ndim, kernel, norm))
            self.stages.append(stage)
        self.whole = nn.Sequential(
            Affine(ndim, thin[3]), PooledUnit(ndim, thin[3], thin[3], bins=1)
        )
        self.embed = ConvNormAct(ndim, thin[3], wide, kernel=kernel, norm=norm)
        self.join = _Aggregate(ndim, wide, steps[3:], kernel, norm)
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


class _Stem(nn.Module):
    """Down twice: by a convolution, then by two ways side by side."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        steps: Sequence[Axes],
        kernel: Axes,
        norm: str,
    ) -> None:
        super().__init__()
        half, one = max(1, width // 2), (1,) * ndim
        self.first = ConvNormAct(ndim, channels, width, kernel=kernel, stride=steps[0], norm=norm)
        self.convs = nn.Sequential(
            ConvNormAct(ndim, width, half, kernel=one, norm=norm),
            ConvNormAct(ndim, half, width, kernel=kernel, stride=steps[1], norm=norm),
        )
        self.pool = MAX_POOL[ndim](kernel, steps[1], tuple(k // 2 for k in kernel))
        self.fuse = ConvNormAct(ndim, 2 * width, width, kernel=kernel, norm=norm)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial / 4)."""
        x = self.first(image)
        out: Tensor = self.fuse(torch.cat((self.convs(x), self.pool(x)), dim=1))
        return out


class _Expand(nn.Module):
    """Gather and expansion: convolution, a depthwise one that widens, 1x1 back; input added."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        expansion: int,
        step: Axes,
        kernel: Axes,
        norm: str,
    ) -> None:
        super().__init__()
        inner, strided = channels * expansion, max(step) > 1
        self.body = nn.Sequential(
            ConvNormAct(ndim, channels, channels, kernel=kernel, norm=norm),
            ConvNormAct(
                ndim,
                channels,
                inner,
                kernel=kernel,
                stride=step,
                groups=channels,
                norm=norm,
                activate=not strided,
            ),
        )
        if strided:
            self.body.append(
                ConvNormAct(ndim, inner, inner, kernel=kernel, groups=inner, norm=norm)
            )
        self.body.append(
            ConvNormAct(ndim, inner, width, kernel=(1,) * ndim, norm=norm, activate=False)
        )
        self.shortcut: nn.Module = nn.Identity()
        if strided or channels != width:
            self.shortcut = Separable(
                ndim,
                channels,
                width,
                kernel=kernel,
                stride=step,
                norm=norm,
                between=False,
                activate=False,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial / step)."""
        total: Tensor = self.shortcut(x) + self.body(x)
        return total.relu()


class _Aggregate(nn.Module):
    """Bilateral guided aggregation: each branch gates the other, at both sizes; their sum."""

    def __init__(
        self, ndim: int, width: int, steps: Sequence[Axes], kernel: Axes, norm: str
    ) -> None:
        super().__init__()
        window = tuple(3 if s > 1 else 1 for s in steps[1])
        self.detail = _light(ndim, width, kernel, norm)
        self.detail_down = nn.Sequential(
            ConvNormAct(
                ndim, width, width, kernel=kernel, stride=steps[0], norm=norm, activate=False
            ),
            # padded by hand: torch pools no map that is smaller than the window
            ZERO_PAD[ndim]([p for k in reversed(window) for p in (k // 2,) * 2]),
            AVERAGE_POOL[ndim](window, steps[1]),  # type: ignore[arg-type]
        )
        self.context_up = ConvNormAct(ndim, width, width, kernel=kernel, norm=norm, activate=False)
        self.context = _light(ndim, width, kernel, norm)
        self.fuse = ConvNormAct(ndim, width, width, kernel=kernel, norm=norm)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Map (B, width, *spatial) and (B, width, *spatial / 4) to (B, width, *spatial)."""
        sizes = detail.shape[2:]
        fine = self.detail(detail) * resize(self.context_up(context), sizes).sigmoid()
        coarse = self.detail_down(detail) * self.context(context).sigmoid()
        out: Tensor = self.fuse(fine + resize(coarse, sizes))
        return out


def _light(ndim: int, width: int, kernel: Axes, norm: str) -> nn.Sequential:
    """Return a depthwise convolution with its norm, and a 1x1 one without."""
    return nn.Sequential(
        ConvNormAct(ndim, width, width, kernel=kernel, groups=width, norm=norm, activate=False),
        ConvNormAct(ndim, width, width, kernel=(1,) * ndim, norm="none", activate=False),
    )
