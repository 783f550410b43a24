"""Aligned Xception in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.arguments import level_axes
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Axes, Encoder, dilate, running_product
from medseg.networks.layers import ConvNormAct, Separable, scaled


class Xception(Encoder):
    """Xception [1]_ as DeepLab v3+ has it [2]_: strided separable convolutions for the poolings.

    Five maps. The second, at a quarter of the resolution, is that of the second entry block before
    its stride, which the decoder of [2]_ reads.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    middle : int
        Blocks of the middle flow: 8 in "41", 16 in "65".
    width : float
        Multiplies all channels.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Five entries each, per axis where wanted. Strides: stem, three entry blocks, exit block;
        default 2. Kernels: likewise, the middle flow with the third entry block; odd, default 3.
    output_stride : int or sequence of int, optional
        Strides beyond it turn into dilation.
    norm : {"instance", "batch", "group", "none"}

    References
    ----------
    .. [1] Chollet, Xception: deep learning with depthwise separable convolutions, CVPR 2017.
    .. [2] Chen et al., Encoder-decoder with atrous separable convolution, ECCV 2018, figure 4.

    Examples
    --------
    >>> import torch
    >>> net = Xception(ndim=2, in_channels=1, middle=1, width=0.125, output_stride=16)
    >>> [tuple(x.shape[1:]) for x in net(torch.zeros(1, 1, 32, 32))]
    [(8, 16, 16), (32, 8, 8), (32, 4, 4), (91, 2, 2), (256, 2, 2)]
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        middle: int = 16,
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        kernels = level_axes(kernel_sizes, (3,) * 5, ndim, 5, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        first, fine, quarter, eighth, mid, deep, last, out = (
            scaled(w, width) for w in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.stem = nn.Sequential(
            ConvNormAct(ndim, in_channels, first, kernel=kernels[0], stride=kept[0], norm=norm),
            ConvNormAct(ndim, first, fine, kernel=kernels[0], dilation=rates[0], norm=norm),
        )
        # what comes before a stride that became dilation is dilated as before it
        entries = ((fine, quarter), (quarter, eighth), (eighth, mid))
        self.first, self.second, self.third = (
            Block(ndim, a, (b, b, b), kernels[i], kept[i], rates[i - 1], norm)
            for i, (a, b) in enumerate(entries, start=1)
        )
        one = (1,) * ndim
        self.middle = nn.Sequential(
            *(Block(ndim, mid, (mid,) * 3, kernels[3], one, rates[3], norm) for _ in range(middle))
        )
        self.exit = Block(ndim, mid, (mid, deep, deep), kernels[4], kept[4], rates[3], norm)
        self.last = nn.Sequential(
            *(
                Separable(ndim, a, b, kernel=kernels[4], dilation=rates[4], norm=norm)
                for a, b in ((deep, last), (last, last), (last, out))
            )
        )
        self.channels = (fine, eighth, eighth, mid, out)
        self.strides = running_product(kept)
        self.kernel = kernels[-1]
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to five maps, fine to coarse."""
        fine = self.stem(image)
        x = self.first(fine)
        quarter = self.second.inner(x)
        eighth = self.second.close(x, quarter)
        coarse = self.middle(self.third(eighth))
        return [fine, quarter, eighth, coarse, self.last(self.exit(coarse))]


class Block(nn.Module):
    """Three separable convolutions, each behind a ReLU, the last one strided; input added.

    Parameters
    ----------
    ndim, channels : int
    widths : sequence of int
        Of the three.
    kernel, stride, dilation : tuple of int
    norm : str
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        widths: Sequence[int],
        kernel: Axes,
        stride: Axes,
        dilation: Axes,
        norm: str,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        given, one = channels, (1,) * ndim
        for i, w in enumerate(widths):
            separable = Separable(
                ndim,
                given,
                w,
                kernel=kernel,
                stride=stride if i == len(widths) - 1 else one,
                dilation=dilation,
                norm=norm,
                between=False,
                activate=False,
            )
            parts.append(nn.Sequential(nn.ReLU(), separable))
            given = w
        self.inner, self.strided = nn.Sequential(*parts[:-1]), parts[-1]
        self.shortcut: nn.Module = nn.Identity()
        if max(stride) > 1 or channels != given:
            self.shortcut = ConvNormAct(
                ndim, channels, given, kernel=one, stride=stride, norm=norm, activate=False
            )

    def close(self, x: Tensor, inner: Tensor) -> Tensor:
        """Finish what ``inner`` made of ``x``."""
        out: Tensor = self.strided(inner) + self.shortcut(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, widths[-1], *spatial / stride)."""
        return self.close(x, self.inner(x))
