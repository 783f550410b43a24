"""SegNet and SegNet-Basic in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from medseg.networks.blocks import init_weights, make_norm, same_conv
from medseg.networks.mirror import MirrorNetwork, conv_row, vgg_counts


class SegNet(MirrorNetwork):
    """SegNet [1]_: VGG16 with batch norm, mirrored; unpools to the places the pooling left.

    There are no skips: only the places cross over. The last convolution is the classifier. With
    CamVid's 11 classes, or with 19, and 3 channels in 2-D it has 29.45 M parameters (88.3 M in
    3-D).

    Parameters
    ----------
    widths, **arguments
        Of `medseg.networks.mirror.MirrorNetwork`.
    convs : int or sequence of int, optional
        Convolutions per level, in the encoder as in the decoder. Default: VGG16's 2, 2, 3, 3, 3.

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
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convs: int | Sequence[int] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, **arguments)
        counts = vgg_counts(convs, len(widths))
        ndim, kernel, norm = self.ndim, self.kernel, self.norm
        for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
            row = (width,) * count
            above = self.in_channels if level == 0 else widths[level - 1]
            back = row if level == 0 else (*row, above)  # the head is the finest level's last
            self.encoder.append(conv_row(ndim, (above, *row), kernel, norm))
            self.decoder.append(conv_row(ndim, back, kernel, norm))
        self.head = same_conv(ndim, widths[0], self.num_classes, kernel, (1,) * ndim, bias=True)
        self.apply(init_weights)


class SegNetBasic(MirrorNetwork):
    """SegNet-Basic [1]_: four levels of one 7^2 convolution, mirrored; no ReLU on the way up.

    Convolutions but the classifier have no bias. In 2-D it has 1.42 M parameters (1.4 M is quoted;
    unverified).

    Parameters
    ----------
    widths, kernel_size, **arguments
        Of `medseg.networks.mirror.MirrorNetwork`; the paper has 64 channels everywhere.

    References
    ----------
    .. [1] Badrinarayanan, Kendall and Cipolla, SegNet: a deep convolutional encoder-decoder
       architecture for image segmentation, TPAMI 2017 (arXiv 2015), section 3.1.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 64, 64, 64),
        kernel_size: int | Sequence[int] = 7,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, kernel_size=kernel_size, **arguments)
        ndim, kernel, norm, one = self.ndim, self.kernel, self.norm, (1,) * self.ndim
        for level, width in enumerate(widths):
            above, back = (self.in_channels, width) if level == 0 else (widths[level - 1],) * 2
            down = same_conv(ndim, above, width, kernel, one, bias=False)
            up = same_conv(ndim, width, back, kernel, one, bias=False)
            self.encoder.append(nn.Sequential(down, make_norm(norm, ndim, width), nn.ReLU()))
            self.decoder.append(nn.Sequential(up, make_norm(norm, ndim, back)))
        self.head = same_conv(ndim, widths[0], self.num_classes, one, one, bias=True)
        self.apply(init_weights)
