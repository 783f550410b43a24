"""Parts of BiSeNet v2: stem, gather-and-expansion layer, guided aggregation of both branches.

References
----------
.. [1] Yu et al., BiSeNet V2: bilateral network with guided aggregation for real-time semantic
   segmentation, IJCV 129, 2021, figures 4 to 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medseg.networks.blocks import AVERAGE_POOL
from medseg.networks.encoders.base import Axes
from medseg.networks.layers import MAX_POOL, ConvNormAct, Separable, resize

ZERO_PAD: dict[int, Callable[..., nn.Module]] = {2: nn.ZeroPad2d, 3: nn.ZeroPad3d}


class Stem(nn.Module):
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


class GatherExpand(nn.Module):
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


class Aggregate(nn.Module):
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
