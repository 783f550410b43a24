"""Multi-scale convolutional attention network (MSCAN): the encoder of SegNeXt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.arguments import level_axes, per_level
from medseg.networks.blocks import CONV, init_weights, make_norm
from medseg.networks.encoders.base import Axes, Encoder, dilate, running_product
from medseg.networks.layers import ConvNormAct, scaled
from medseg.networks.transformer import DropPath

STRIPS = (7, 11, 21)
WIDE = (64, 128, 320, 512)
FORMS: Mapping[str, Mapping[str, Any]] = {
    "mscan_t": {"widths": (32, 64, 160, 256), "depths": (3, 3, 5, 2)},
    "mscan_s": {"widths": WIDE, "depths": (2, 2, 4, 2)},
    "mscan_b": {"widths": WIDE, "depths": (3, 3, 12, 3)},
    "mscan_l": {"widths": WIDE, "depths": (3, 5, 27, 3)},
}
"""The forms of the paper (table 2)."""


class MSCAN(Encoder):
    """Attention by large depthwise convolutions, of which each scale is a row of strips [1]_.

    Maps are that of the stem's first convolution and those of the stages. The two strips of each
    scale (1 x k, k x 1) become one per axis in 3-D.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    widths, depths, expansions : sequence of int
        Channels and blocks of each stage, and hidden channels of its blocks per channel.
    width : float
        Multiplies all channels.
    strides : sequence of (int or tuple of int), optional
        Of the stem's two convolutions and of the stages but the first, per axis; default 2.
    kernel_sizes : sequence of (int or tuple of int), optional
        Of the same convolutions, odd; default 3. An axis with kernel 1 is left alone by the whole
        stage that follows.
    output_stride : int or sequence of int, optional
        Strides beyond it turn into dilation.
    norm : {"instance", "batch", "group", "none"}
    drop_path : float
        Probability to skip a branch in training, growing to this at the end.

    References
    ----------
    .. [1] Guo et al., SegNeXt: rethinking convolutional attention design for semantic
       segmentation, NeurIPS 2022, section 3.1.

    Examples
    --------
    >>> net = MSCAN(ndim=2, in_channels=1, widths=(4, 8), depths=(1, 1), expansions=(2, 2))
    >>> [tuple(x.shape[1:]) for x in net(torch.zeros(2, 1, 16, 16))]
    [(2, 8, 8), (4, 4, 4), (8, 2, 2)]
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        expansions: Sequence[int] = (8, 8, 4, 4),
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "batch",
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        levels = len(widths)
        steps = level_axes(strides, (2,) * (levels + 1), ndim, levels + 1, "strides")
        kernels = level_axes(kernel_sizes, (3,) * (levels + 1), ndim, levels + 1, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        counts = per_level(depths, levels, "network.arguments.depths")
        ratios = per_level(expansions, levels, "network.arguments.expansions")
        sizes = [scaled(w, width) for w in widths]
        half = max(1, sizes[0] // 2)
        self.stem = nn.Sequential(
            _down(ndim, in_channels, half, kernels[0], kept[0], (1,) * ndim, norm), nn.GELU()
        )
        drops = [drop_path * i / max(1, sum(counts) - 1) for i in range(sum(counts))]
        self.stages, self.norms = nn.ModuleList(), nn.ModuleList()
        channels, first = half, 0
        for i, w in enumerate(sizes):
            stage = nn.Sequential(
                _down(ndim, channels, w, kernels[i + 1], kept[i + 1], rates[i], norm)
            )
            for drop in drops[first : first + counts[i]]:
                stage.append(_Block(ndim, w, ratios[i], kernels[i + 1], rates[i + 1], norm, drop))
            self.stages.append(stage)
            self.norms.append(nn.LayerNorm(w))
            channels, first = w, first + counts[i]
        self.channels = (half, *sizes)
        self.strides = running_product(kept)
        self.kernel = kernels[-1]
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to maps, fine to coarse."""
        maps = [self.stem(image)]
        for stage, norm in zip(self.stages, self.norms, strict=True):
            maps.append(norm(stage(maps[-1]).movedim(1, -1)).movedim(-1, 1))
        return maps


def _down(
    ndim: int, channels: int, width: int, kernel: Axes, stride: Axes, rate: Axes, norm: str
) -> nn.Module:
    """Return the convolution between two stages, whose patches overlap."""
    return ConvNormAct(
        ndim,
        channels,
        width,
        kernel=kernel,
        stride=stride,
        dilation=rate,
        norm=norm,
        activate=False,
    )


class _Block(nn.Module):
    """Attention and feed-forward convolutions, each normalised, scaled and added to its input."""

    def __init__(
        self,
        ndim: int,
        width: int,
        expansion: int,
        kernel: Axes,
        dilation: Axes,
        norm: str,
        drop_path: float,
    ) -> None:
        super().__init__()
        hidden, conv = expansion * width, CONV[ndim]
        self.attend = nn.Sequential(
            make_norm(norm, ndim, width), _Attention(ndim, width, kernel, dilation)
        )
        self.feed = nn.Sequential(
            make_norm(norm, ndim, width),
            conv(width, hidden, 1),
            _depthwise(ndim, hidden, kernel, dilation),
            nn.GELU(),
            conv(hidden, width, 1),
        )
        self.scale1 = nn.Parameter(torch.full((width, *(1,) * ndim), 1e-2))
        self.scale2 = nn.Parameter(torch.full((width, *(1,) * ndim), 1e-2))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        x = x + self.drop(self.scale1 * self.attend(x))
        out: Tensor = x + self.drop(self.scale2 * self.feed(x))
        return out


class _Attention(nn.Module):
    """Depthwise convolutions at four scales weigh the map they are taken of (equations 1 and 2)."""

    def __init__(self, ndim: int, width: int, kernel: Axes, dilation: Axes) -> None:
        super().__init__()
        conv = CONV[ndim]
        self.expand = conv(width, width, 1)
        local = tuple(5 if k > 1 else 1 for k in kernel)
        self.local = _depthwise(ndim, width, local, dilation)
        axes = [axis for axis in reversed(range(ndim)) if kernel[axis] > 1]
        self.strips = nn.ModuleList(
            nn.Sequential(
                *(_depthwise(ndim, width, _along(axis, side, ndim), dilation) for axis in axes)
            )
            for side in STRIPS
        )
        self.mix = conv(width, width, 1)
        self.project = conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        given = functional.gelu(self.expand(x))
        near = self.local(given)
        scales = near
        for strip in self.strips:
            scales = scales + strip(near)
        out: Tensor = x + self.project(self.mix(scales) * given)
        return out


def _along(axis: int, side: int, ndim: int) -> Axes:
    """Return a kernel of ``side`` along one axis, and 1 along the others."""
    return tuple(side if i == axis else 1 for i in range(ndim))


def _depthwise(ndim: int, channels: int, kernel: Axes, dilation: Axes) -> nn.Module:
    """Return a convolution of each channel by itself that keeps the size."""
    margin = tuple(d * (k // 2) for d, k in zip(dilation, kernel, strict=True))
    return CONV[ndim](channels, channels, kernel, 1, margin, dilation, groups=channels)  # type: ignore[arg-type]
