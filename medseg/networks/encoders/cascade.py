"""Three thin Xceptions in a row, each fed by the one before: the encoder of DFANet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medseg.networks.arguments import level_axes, odd_kernel
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders.base import Axes, Encoder, running_product
from medseg.networks.layers import Affine, ConvNormAct, Separable, resize, scaled

PASSES = 3


class Cascade(Encoder):
    """The passes [1]_; of each the map of its first stage and the attended one of its last.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    width : float
        Multiplies all channels but those of the attention's dense layer.
    widths : sequence of int
        Of the three stages of each pass; (48, 96, 192) is backbone A, (32, 64, 128) is B.
    blocks : sequence of int
        Of the three stages.
    first : int
        Channels of the first convolution.
    dense_width : int
        Of the attention's dense layer.
    strides : sequence of (int or tuple of int), optional
        Six steps, per axis where wanted; default 2. A pass takes three, and the next one begins
        one step further.
    kernel_size : int or tuple of int
        Odd.
    norm : {"instance", "batch", "group", "none"}
        Of all but what is pooled to single values.

    References
    ----------
    .. [1] Li et al., DFANet: deep feature aggregation for real-time semantic segmentation,
       CVPR 2019, table 1 and figure 3.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        width: float = 1.0,
        widths: Sequence[int] = (48, 96, 192),
        blocks: Sequence[int] = (4, 6, 4),
        first: int = 8,
        dense_width: int = 1000,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        count = PASSES + 3
        steps = level_axes(strides, (2,) * count, ndim, count, "strides")
        kernel, first = odd_kernel(kernel_size, ndim), scaled(first, width)
        widths = [scaled(w, width) for w in widths]
        self.stem = ConvNormAct(ndim, in_channels, first, kernel=kernel, stride=steps[0], norm=norm)
        self.passes, self.attend = nn.ModuleList(), nn.ModuleList()
        for p in range(PASSES):
            stages, given = nn.ModuleList(), first if p == 0 else widths[-1]
            for i, (w, count) in enumerate(zip(widths, blocks, strict=True)):
                given += w if p else 0  # beside the same stage of the pass before
                stage = nn.Sequential()
                for j in range(count):
                    step = steps[p + 1 + i] if j == 0 else (1,) * ndim
                    stage.append(_Block(ndim, given, w, step, kernel, norm))
                    given = w
                stages.append(stage)
            self.passes.append(stages)
            self.attend.append(_Attention(ndim, given, dense_width))
        total = running_product(steps)
        self.channels = (widths[0], widths[-1]) * PASSES
        self.strides = tuple(total[p + i] for p in range(PASSES) for i in (1, 3))
        self.kernel = kernel
        self.apply(init_weights)
        for attend in self.attend:
            attend.apply(_start_open)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to two maps of each pass."""
        x = self.stem(image)
        before: list[Tensor] = []
        maps: list[Tensor] = []
        for stages, attend in zip(self.passes, self.attend, strict=True):
            made: list[Tensor] = []
            for i, stage in enumerate(cast("nn.ModuleList", stages)):
                if before:  # sub-network and sub-stage aggregation
                    x = torch.cat((resize(x, before[i].shape[2:]), before[i]), dim=1)
                x = stage(x)
                made.append(x)
            x, before = attend(x), made
            maps += [made[0], x]
        return maps


class _Block(nn.Module):
    """Three separable convolutions, the first two of a quarter of the width; input added."""

    def __init__(
        self, ndim: int, channels: int, width: int, step: Axes, kernel: Axes, norm: str
    ) -> None:
        super().__init__()
        quarter, one = max(1, width // 4), (1,) * ndim

        def unit(given: int, made: int, stride: Axes, activate: bool) -> Separable:
            return Separable(
                ndim,
                given,
                made,
                kernel=kernel,
                stride=stride,
                norm=norm,
                between=False,
                activate=activate,
            )

        self.body = nn.Sequential(
            unit(channels, quarter, step, True),
            unit(quarter, quarter, one, True),
            unit(quarter, width, one, False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels != width or max(step) > 1:
            self.shortcut = ConvNormAct(
                ndim, channels, width, kernel=one, stride=step, norm=norm, activate=False
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial / step)."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total.relu()


class _Attention(nn.Module):
    """Channels times what a dense layer makes of their means: "fc attention"."""

    def __init__(self, ndim: int, channels: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, width)
        self.back = nn.Sequential(
            CONV[ndim](width, channels, 1, bias=False), Affine(ndim, channels), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        mean = self.dense(x.flatten(2).mean(-1))
        out: Tensor = x * self.back(mean[(..., *(None,) * (x.ndim - 2))])
        return out


def _start_open(module: nn.Module) -> None:
    """Let a gate start near 1: it multiplies, and nothing normalises what it says."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, Affine):
        nn.init.ones_(module.bias)
