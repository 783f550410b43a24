"""DenseNet 121 to 201 in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import level_axes
from medseg.networks.blocks import AVERAGE_POOL, CONV, init_weights, make_norm
from medseg.networks.encoders.base import Axes, Encoder, dilate, running_product
from medseg.networks.layers import MAX_POOL, ConvNormAct, scaled

LAYERS: dict[int, tuple[int, ...]] = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}


class DenseNet(Encoder):
    """DenseNet-BC [1]_ without its classifier; five maps: the stem's and those of the four blocks.

    The map of a block is what its transition reads: normalised and rectified.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    depth : {121, 161, 169, 201}
    width : float
        Multiplies the channels of the stem and of each dense layer.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Five entries each, per axis where wanted. Strides: stem, pooling, the three transitions;
        default 2. Kernels: stem (7), then the four blocks (3); odd.
    output_stride : int or sequence of int, optional
        Transitions beyond it do not pool, and the blocks after them are dilated.
    norm : {"instance", "batch", "group", "none"}

    References
    ----------
    .. [1] Huang et al., Densely connected convolutional networks, CVPR 2017, table 1.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        depth: int,
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if depth not in LAYERS:
            known = ", ".join(map(str, LAYERS))
            raise ConfigError(f"network.arguments.depth is {depth}; DenseNet has {known}")
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        kernels = level_axes(kernel_sizes, (7, 3, 3, 3, 3), ndim, 5, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        first, growth = (96, 48) if depth == 161 else (64, 32)
        channels, growth = scaled(first, width), scaled(growth, width)
        self.stem = ConvNormAct(
            ndim, in_channels, channels, kernel=kernels[0], stride=kept[0], norm=norm
        )
        window = tuple(3 if s > 1 else 1 for s in kept[1])
        self.pool = MAX_POOL[ndim](window, kept[1], tuple(k // 2 for k in window))
        self.blocks, self.norms = nn.ModuleList(), nn.ModuleList()
        self.transitions = nn.ModuleList()
        widths = [channels]
        for i, count in enumerate(LAYERS[depth]):
            block = nn.ModuleList()
            for _ in range(count):
                block.append(_Layer(ndim, channels, growth, kernels[i + 1], rates[i + 1], norm))
                channels += growth
            self.blocks.append(block)
            self.norms.append(nn.Sequential(make_norm(norm, ndim, channels), nn.ReLU()))
            widths.append(channels)
            if i < 3:
                self.transitions.append(_transition(ndim, channels, kept[i + 2], norm))
                channels //= 2
        self.channels, self.strides = tuple(widths), running_product(kept)
        self.kernel = kernels[-1]
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to five maps, fine to coarse."""
        maps = [self.stem(image)]
        x = self.pool(maps[0])
        for i, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            for layer in cast("nn.ModuleList", block):
                x = torch.cat((x, layer(x)), dim=1)
            maps.append(norm(x))
            if i < len(self.transitions):
                x = self.transitions[i](maps[-1])
        return maps


class _Layer(nn.Sequential):
    """Norm, ReLU, 1x1 to four times the growth; norm, ReLU, convolution to the growth."""

    def __init__(
        self, ndim: int, channels: int, growth: int, kernel: Axes, dilation: Axes, norm: str
    ) -> None:
        inner, bias = 4 * growth, norm == "none"
        margin = tuple(d * (k // 2) for d, k in zip(dilation, kernel, strict=True))
        super().__init__(
            make_norm(norm, ndim, channels),
            nn.ReLU(),
            CONV[ndim](channels, inner, 1, bias=bias),
            make_norm(norm, ndim, inner),
            nn.ReLU(),
            CONV[ndim](inner, growth, kernel, 1, margin, dilation, bias=bias),  # type: ignore[arg-type]
        )


def _transition(ndim: int, channels: int, step: Axes, norm: str) -> nn.Sequential:
    """Return the 1x1 convolution to half the channels, and the pooling."""
    return nn.Sequential(
        CONV[ndim](channels, channels // 2, 1, bias=norm == "none"),
        AVERAGE_POOL[ndim](step, step),  # type: ignore[arg-type]
    )
