"""ResNet 18 to 152 in 2-D and 3-D, with a deep stem, output stride and multigrid on request."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import level_axes
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Axes, Encoder, dilate, running_product
from medseg.networks.layers import MAX_POOL, ConvNormAct, scaled

DEPTHS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class ResNet(Encoder):
    """ResNet [1]_ without its classifier; five maps: the stem's and those of the four stages.

    The stride of a bottleneck is that of its 3x3 convolution. A stage whose stride became
    dilation gives its first strided convolution the dilation of the stage before: on the voxels
    that the stride would have kept, the result is the same.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    depth : {18, 34, 50, 101, 152}
        From 50 on the blocks are bottlenecks.
    deep_stem : bool
        Three 3x3 convolutions for the 7x7 one [2]_: "v1c".
    width : float
        Multiplies all channels.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Five entries each, per axis where wanted. Strides: stem, pooling, second, third and fourth
        stage (the first has none); default 2. Kernels: stem, then the four stages, odd; default 3,
        and 7 for the plain stem.
    output_stride : int or sequence of int, optional
        Strides beyond it turn into dilation [3]_.
    multigrid : sequence of int, optional
        Factors of the dilations of the last stage's blocks, repeated as needed [3]_.
    hybrid : sequence of sequences of int, optional
        Dilations of the blocks of the last stages, one sequence for each of them, repeated as
        needed: hybrid dilated convolution [4]_. They stand in for those of ``output_stride``.
    norm : {"instance", "batch", "group", "none"}

    References
    ----------
    .. [1] He et al., Deep residual learning for image recognition, CVPR 2016.
    .. [2] He et al., Bag of tricks for image classification, CVPR 2019, section 4 (ResNet-C).
    .. [3] Chen et al., Rethinking atrous convolution, arXiv 1706.05587.
    .. [4] Wang et al., Understanding convolution for semantic segmentation, WACV 2018, section 3.2.

    Examples
    --------
    >>> import torch
    >>> net = ResNet(ndim=2, in_channels=1, depth=18, width=0.125, output_stride=8)
    >>> [tuple(x.shape[1:]) for x in net(torch.zeros(2, 1, 32, 32))]
    [(8, 16, 16), (8, 8, 8), (16, 4, 4), (32, 4, 4), (64, 4, 4)]
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        depth: int,
        deep_stem: bool = False,
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        multigrid: Sequence[int] | None = None,
        hybrid: Sequence[Sequence[int]] = (),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ConfigError(
                f"network.arguments.depth is {depth}; ResNet has {', '.join(map(str, DEPTHS))}"
            )
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        default = (3 if deep_stem else 7, 3, 3, 3, 3)
        kernels = level_axes(kernel_sizes, default, ndim, 5, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        build = Bottleneck if depth >= 50 else Basic
        widths = [scaled(w, width) for w in (64, 128, 256, 512)]

        stem_width = scaled(64, width)
        self.stem = _stem(ndim, in_channels, stem_width, kernels[0], kept[0], deep_stem, norm)
        window = tuple(3 if s > 1 else 1 for s in kept[1])
        self.pool = MAX_POOL[ndim](window, kept[1], tuple(k // 2 for k in window))
        self.stages = nn.ModuleList()
        channels, strides_of_stages = stem_width, [(1,) * ndim, *kept[2:]]
        for i, (count, w) in enumerate(zip(DEPTHS[depth], widths, strict=True)):
            before, rate = rates[i], rates[i + 1]
            grid = multigrid if multigrid is not None and i == 3 else None
            given = hybrid[i - 4] if i >= 4 - len(hybrid) else None
            stage = nn.Sequential()
            for j in range(count):
                here = (before if j == 0 else rate, rate)
                if grid is not None:
                    here = (tuple(r * grid[j % len(grid)] for r in rate),) * 2
                if given is not None:
                    here = ((given[j % len(given)],) * ndim,) * 2
                step = strides_of_stages[i] if j == 0 else (1,) * ndim
                stage.append(build(ndim, channels, w, kernels[i + 1], step, here, norm))
                channels = w * build.expansion
            self.stages.append(stage)
        self.channels = (stem_width, *(w * build.expansion for w in widths))
        self.strides = running_product(kept)
        self.kernel = kernels[-1]
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to five maps, fine to coarse."""
        maps = [self.stem(image)]
        x = self.pool(maps[0])
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _stem(
    ndim: int, channels: int, width: int, kernel: Axes, stride: Axes, deep: bool, norm: str
) -> nn.Sequential:
    """Return the first convolution, or the three of ResNet-C."""
    if not deep:
        unit = ConvNormAct(ndim, channels, width, kernel=kernel, stride=stride, norm=norm)
        return nn.Sequential(unit)
    half = max(1, width // 2)
    return nn.Sequential(
        ConvNormAct(ndim, channels, half, kernel=kernel, stride=stride, norm=norm),
        ConvNormAct(ndim, half, half, kernel=kernel, norm=norm),
        ConvNormAct(ndim, half, width, kernel=kernel, norm=norm),
    )


class _Residual(nn.Module):
    """Layers plus the input, which is projected where its shape differs; then ReLU."""

    expansion = 1

    def __init__(
        self, ndim: int, channels: int, out_channels: int, stride: Axes, norm: str
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        self.shortcut: nn.Module = nn.Identity()
        if max(stride) > 1 or channels != out_channels:
            self.shortcut = ConvNormAct(
                ndim,
                channels,
                out_channels,
                kernel=(1,) * ndim,
                stride=stride,
                norm=norm,
                activate=False,
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial / stride)."""
        out: Tensor = self.activation(self.layers(x) + self.shortcut(x))
        return out


class Basic(_Residual):
    """Two convolutions, of which the first has the stride, each with its dilation."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: Axes,
        stride: Axes,
        dilations: tuple[Axes, Axes],
        norm: str,
    ) -> None:
        super().__init__(ndim, channels, width, stride, norm)
        self.layers.append(
            ConvNormAct(
                ndim,
                channels,
                width,
                kernel=kernel,
                stride=stride,
                dilation=dilations[0],
                norm=norm,
            )
        )
        self.layers.append(
            ConvNormAct(
                ndim, width, width, kernel=kernel, dilation=dilations[1], norm=norm, activate=False
            )
        )


class Bottleneck(_Residual):
    """1x1 to ``width``, 3x3, 1x1 to four times ``width``."""

    expansion = 4

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: Axes,
        stride: Axes,
        dilations: tuple[Axes, Axes],
        norm: str,
    ) -> None:
        out_channels, one = width * self.expansion, (1,) * ndim
        super().__init__(ndim, channels, out_channels, stride, norm)
        self.layers.append(ConvNormAct(ndim, channels, width, kernel=one, norm=norm))
        self.layers.append(
            ConvNormAct(
                ndim, width, width, kernel=kernel, stride=stride, dilation=dilations[0], norm=norm
            )
        )
        self.layers.append(
            ConvNormAct(ndim, width, out_channels, kernel=one, norm=norm, activate=False)
        )
