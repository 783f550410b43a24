"""SegNet and SegNet-Basic in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from medseg.networks.arguments import odd_kernel
from medseg.networks.blocks import init_weights, make_norm, same_conv
from medseg.networks.mirror import MirrorNetwork, conv_row, vgg_counts


class SegNet(MirrorNetwork):
    """SegNet [1]_: VGG16 with batch norm, mirrored; unpools to the places the pooling left.

    There are no skips: only the places cross over. The last convolution is the classifier. With
    CamVid's 11 classes, or with 19, and 3 channels in 2-D it has 29.45 M parameters (88.3 M in
    3-D).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first.
    convs : int or sequence of int, optional
        Convolutions per level, in the encoder as in the decoder. Default: VGG16's 2, 2, 3, 3, 3.
    strides : sequence of (int or tuple of int), optional
        Pooling window of each level, per axis. Default: 2s.
    kernel_size : int or tuple of int
        Odd sides of the convolutions.
    norm : {"batch", "instance", "group", "none"}
        Normalisation after each convolution but the last.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Badrinarayanan, Kendall and Cipolla, SegNet: a deep convolutional encoder-decoder
       architecture for image segmentation, TPAMI 2017 (arXiv 2015), section 3 and figure 2.

    Examples
    --------
    >>> import torch
    >>> net = SegNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 8), convs=1)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convs: int | Sequence[int] | None = None,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
    ) -> None:
        super().__init__(ndim, widths, strides)
        counts, kernel = vgg_counts(convs, len(widths)), odd_kernel(kernel_size, ndim)
        for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
            row = (width,) * count
            above = in_channels if level == 0 else widths[level - 1]
            back = row if level == 0 else (*row, above)  # the head is the finest level's last
            self.encoder.append(conv_row(ndim, (above, *row), kernel, norm))
            self.decoder.append(conv_row(ndim, back, kernel, norm))
        self.head = same_conv(ndim, widths[0], num_classes, kernel, (1,) * ndim, bias=True)
        self.apply(init_weights)


class SegNetBasic(MirrorNetwork):
    """SegNet-Basic [1]_: four levels of one 7^2 convolution, mirrored; no ReLU on the way up.

    Convolutions but the classifier have no bias. In 2-D it has 1.42 M parameters (1.4 M is quoted;
    unverified).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first; the paper has 64 everywhere.
    strides : sequence of (int or tuple of int), optional
        Pooling window of each level, per axis. Default: 2s.
    kernel_size : int or tuple of int
        Odd sides of the convolutions.
    norm : {"batch", "instance", "group", "none"}
        Normalisation after each convolution.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Badrinarayanan, Kendall and Cipolla, SegNet: a deep convolutional encoder-decoder
       architecture for image segmentation, TPAMI 2017 (arXiv 2015), section 3.1.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (64, 64, 64, 64),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 7,
        norm: str = "batch",
    ) -> None:
        super().__init__(ndim, widths, strides)
        kernel, one = odd_kernel(kernel_size, ndim), (1,) * ndim
        for level, width in enumerate(widths):
            above, back = (in_channels, width) if level == 0 else (widths[level - 1],) * 2
            down = same_conv(ndim, above, width, kernel, one, bias=False)
            up = same_conv(ndim, width, back, kernel, one, bias=False)
            self.encoder.append(nn.Sequential(down, make_norm(norm, ndim, width), nn.ReLU()))
            self.decoder.append(nn.Sequential(up, make_norm(norm, ndim, back)))
        self.head = same_conv(ndim, widths[0], num_classes, one, one, bias=True)
        self.apply(init_weights)
