"""The U-Net of 2015 as published, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.networks.blocks import CONV, TRANSPOSED, crop_to, init_weights, pad_to_divisor
from medseg.networks.layers import MAX_POOL
from medseg.networks.levels import LevelNetwork
from medseg.networks.unet_parts import down_and_up, relu_convs


class UNet2015(LevelNetwork):
    """U-Net as published [1]_: two 3x3 convolutions and ReLU per level, no normalisation.

    Max-pooling goes down, a 2x2 up-convolution that halves the channels goes up, the skip is
    concatenated, and dropout sits at the end of the contracting path (its last two levels, of
    which the paper does not give the number). One
    departure: convolutions are padded, so that the output is as large as the input (572 gives 388
    in [1]_). 31.03 M parameters in 2-D, 90.3 M in 3-D. `medseg.networks.unet.UNet` is the one with
    normalisation, strided convolutions and deep supervision.

    Parameters
    ----------
    widths, norm, **arguments
        Of `medseg.networks.levels.LevelNetwork`; strides are those of max-pooling, and the paper
        has no norm.
    dropout : float
        Probability, in the last two levels of the contracting path.

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
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        norm: str = "none",
        dropout: float = 0.5,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, norm=norm, **arguments)
        ndim, steps, kernels, levels = self.ndim, self.steps, self.kernels, len(widths)
        before = (self.in_channels, *widths)
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
        self.head = CONV[ndim](widths[0], self.num_classes, 1)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = pad_to_divisor(image, self.divisor)
        x = down_and_up(x, self.encoder, self.pools, self.ups, self.decoder)
        return crop_to(self.head(x), image.shape[2:])
