"""FC-DenseNet (the hundred layers tiramisu) in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, crop_to, init_weights, pad_to_divisor, same_conv
from medseg.networks.dense_block import DenseBlock, dense_layer
from medseg.networks.stepped import SteppedNetwork
from medseg.networks.unpooling import make_upsampling, max_pool


class FCDenseNet(SteppedNetwork):
    """FC-DenseNet [1]_: dense blocks down and up, skips; on the way up only new maps travel.

    With CamVid's 11 classes and 3 channels in 2-D the three forms of the paper, `fc_densenet56`,
    `fc_densenet67` and `fc_densenet103`, have 1.38, 3.46 and 9.32 M parameters (26.2 M the last
    in 3-D); the paper says 1.5, 3.5 and 9.4.

    Parameters
    ----------
    layers : sequence of int
        Convolutions of each dense block on the way down, finest first; the last is the
        bottleneck. The way up mirrors it.
    growth : int
        Maps that each layer adds.
    first : int
        Maps of the first convolution.
    dropout : float
        Share of values dropped after each convolution, in [0, 1).
    upsampling : {"transposed", "resize"}
        The paper's transposed convolution, or interpolation and a convolution of as many weights.
    **arguments
        Of `medseg.networks.stepped.SteppedNetwork`; one step per transition, and the norm goes
        before each convolution.

    Raises
    ------
    ConfigError
        If ``layers`` has fewer than two entries, or another argument does not fit.

    References
    ----------
    .. [1] Jégou et al., The one hundred layers tiramisu: fully convolutional DenseNets for
       semantic segmentation, CVPR workshops 2017, tables 1 and 2.

    Examples
    --------
    >>> import torch
    >>> net = FCDenseNet(ndim=2, in_channels=1, num_classes=3, layers=(1, 2), growth=4, first=4)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    def __init__(
        self,
        *,
        layers: Sequence[int] = (4, 5, 7, 10, 12, 15),
        growth: int = 16,
        first: int = 48,
        dropout: float = 0.2,
        upsampling: str = "transposed",
        **arguments: Any,
    ) -> None:
        if len(layers) < 2 or min(layers) < 1:
            raise ConfigError(
                f"network.arguments.layers: {layers!r} must be two positive integers or more"
            )
        super().__init__(len(layers) - 1, **arguments)
        ndim, kernel, norm = self.ndim, self.kernel, self.norm
        self.stem = same_conv(ndim, self.in_channels, first, kernel, (1,) * ndim, bias=True)
        self.encoder, self.downs = nn.ModuleList(), nn.ModuleList()
        channels, skips = first, []
        for count in layers[:-1]:
            self.encoder.append(DenseBlock(ndim, channels, count, growth, kernel, dropout, norm))
            channels += count * growth
            skips.append(channels)
            one = (1,) * ndim
            self.downs.append(dense_layer(ndim, channels, channels, one, dropout, norm))
        self.bottleneck = DenseBlock(ndim, channels, layers[-1], growth, kernel, dropout, norm)
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()  # coarsest first
        new = layers[-1] * growth
        for count, skip, step in zip(
            reversed(layers[:-1]), reversed(skips), reversed(self.strides), strict=True
        ):
            self.ups.append(
                make_upsampling(upsampling, ndim, new, new, kernel=kernel, step=step, bias=True)
            )
            channels = new + skip
            self.decoder.append(DenseBlock(ndim, channels, count, growth, kernel, dropout, norm))
            new = count * growth
        self.head = CONV[ndim](channels + new, self.num_classes, 1)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = self.stem(pad_to_divisor(image, self.divisor))
        skips = []
        for block, down, step in zip(self.encoder, self.downs, self.strides, strict=True):
            skips.append(torch.cat((x, block(x)), dim=1))
            x, _ = max_pool(down(skips[-1]), step)
        new = self.bottleneck(x)
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = torch.cat((up(new), skips.pop()), dim=1)
            new = block(x)
        return crop_to(self.head(torch.cat((x, new), dim=1)), image.shape[2:])


fc_densenet56: Callable[..., FCDenseNet] = partial(FCDenseNet, layers=(4,) * 6, growth=12)
fc_densenet67: Callable[..., FCDenseNet] = partial(FCDenseNet, layers=(5,) * 6, growth=16)
fc_densenet103: Callable[..., FCDenseNet] = FCDenseNet
