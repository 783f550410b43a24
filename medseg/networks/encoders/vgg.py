"""VGG16 in 2-D and 3-D, plain or normalised."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.arguments import level_axes
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Encoder, dilate, running_product
from medseg.networks.layers import MAX_POOL, ConvNormAct, scaled

WIDTHS, CONVS = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)


class VGG(Encoder):
    """The 13 convolutions of VGG16 [1]_; five maps, each after its max-pooling.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    width : float
        Multiplies all channels.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Per stage and axis. Strides are those of the poolings, default 2; an axis with 1 is not
        pooled. Kernels are odd, default 3.
    output_stride : int or sequence of int, optional
        Poolings beyond it keep the size (3 wide, stride 1) and the convolutions after them are
        dilated [2]_.
    norm : {"instance", "batch", "group", "none"}
        "none" in [1]_.

    References
    ----------
    .. [1] Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015, column D.
    .. [2] Chen et al., Semantic image segmentation with deep convolutional nets and fully
       connected CRFs, ICLR 2015, section 3.1.

    Examples
    --------
    >>> import torch
    >>> net = VGG(ndim=2, in_channels=1, width=0.125)
    >>> [tuple(x.shape[1:]) for x in net(torch.zeros(1, 1, 32, 32))]
    [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2), (64, 1, 1)]
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "none",
    ) -> None:
        super().__init__()
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        kernels = level_axes(kernel_sizes, (3,) * 5, ndim, 5, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        before = [(1,) * ndim, *rates[:-1]]  # a pooling dilates the convolutions after it
        self.channels = tuple(scaled(w, width) for w in WIDTHS)
        self.strides = running_product(kept)
        self.kernel = kernels[-1]
        self.dilation = rates[-1]
        self.stages = nn.ModuleList()
        channels = in_channels
        for i, (w, count) in enumerate(zip(self.channels, CONVS, strict=True)):
            stage = nn.Sequential()
            for _ in range(count):
                stage.append(
                    ConvNormAct(ndim, channels, w, kernel=kernels[i], dilation=before[i], norm=norm)
                )
                channels = w
            # a traded stride keeps a window of 3; a kept one is as wide as its step
            window = tuple(k if k == s else 3 for k, s in zip(kept[i], steps[i], strict=True))
            margin = tuple(0 if k == s else 1 for k, s in zip(kept[i], steps[i], strict=True))
            stage.append(MAX_POOL[ndim](window, kept[i], margin))
            self.stages.append(stage)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to five maps, fine to coarse."""
        maps, x = [], image
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
