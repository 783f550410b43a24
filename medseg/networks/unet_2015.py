"""The U-Net of 2015 as published, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.arguments import divisor_of, level_geometry
from medseg.networks.blocks import CONV, TRANSPOSED, crop_to, init_weights, pad_to_divisor
from medseg.networks.layers import MAX_POOL
from medseg.networks.unet_parts import relu_convs


class UNet2015(nn.Module):
    """U-Net as published [1]_: two 3x3 convolutions and ReLU per level, no normalisation.

    Max-pooling goes down, a 2x2 up-convolution that halves the channels goes up, the skip is
    concatenated, and dropout sits at the end of the contracting path (its last two levels, of
    which the paper does not give the number). One
    departure: convolutions are padded, so that the output is as large as the input (572 gives 388
    in [1]_). 31.03 M parameters in 2-D, 90.3 M in 3-D. `medseg.networks.unet.UNet` is the one with
    normalisation, strided convolutions and deep supervision.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Max-pooling and odd kernel per level and axis; the first stride is 1. Default: 1, then 2s;
        kernels of 3.
    norm : {"none", "instance", "batch", "group"}
        Normalisation after each convolution; the paper has none.
    dropout : float
        Probability, in the last two levels of the contracting path.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Ronneberger, Fischer and Brox, U-Net: convolutional networks for biomedical image
       segmentation, MICCAI 2015, figure 1.

    Examples
    --------
    >>> import torch
    >>> net = UNet2015(ndim=2, in_channels=1, num_classes=2, widths=(4, 8))
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 2, 9, 6])
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: str = "none",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.ndim = ndim
        levels = len(widths)
        steps, kernels = level_geometry(widths, strides, kernel_sizes, ndim)
        self.divisor = divisor_of(steps)
        before = (in_channels, *widths)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.pools, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            kernel = kernels[level]
            convs = relu_convs(ndim, before[level], width, count=2, kernel=kernel, norm=norm)
            if level >= max(1, levels - 2):
                convs.append(nn.Dropout(dropout))
            self.encoder.append(convs)
        for level, width in enumerate(widths[:-1]):  # finest first, like the encoder
            step = steps[level + 1]
            self.pools.append(MAX_POOL[ndim](step, step))
            self.ups.append(TRANSPOSED[ndim](widths[level + 1], width, step, step))  # type: ignore[arg-type]
            convs = relu_convs(ndim, 2 * width, width, count=2, kernel=kernels[level], norm=norm)
            self.decoder.append(convs)
        self.head = CONV[ndim](widths[0], num_classes, 1)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = self.encoder[0](pad_to_divisor(image, self.divisor))
        skips = []
        for pool, convs in zip(self.pools, self.encoder[1:], strict=True):
            skips.append(x)
            x = convs(pool(x))
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat((skips[level], self.ups[level](x)), dim=1))
        return crop_to(self.head(x), image.shape[2:])
