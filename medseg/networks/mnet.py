"""M-Net in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.blocks import AVERAGE_POOL, CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.layers import MAX_POOL, resize
from medseg.networks.levels import LevelNetwork
from medseg.networks.output import Prediction
from medseg.networks.unet_parts import make_up, relu_convs


class MNet(LevelNetwork):
    """U-Net with two legs: the image at every size in, logits of every size out [1]_ [2]_.

    The image, averaged to each level's size, enters it through a convolution; each level of the
    way up has logits, which are brought to the image's size, and whose mean is the result. In
    training each of them has a loss of its own. The papers print no number of parameters:
    unverified.

    Parameters
    ----------
    up : {"resize", "transposed"}
        How a level is enlarged.
    widths, **arguments
        Of `medseg.networks.levels.LevelNetwork`; strides are those of pooling.

    References
    ----------
    .. [1] Mehta and Sivaswamy, M-net: a convolutional neural network for deep brain structure
       segmentation, ISBI 2017.
    .. [2] Fu et al., Joint optic disc and cup segmentation based on multi-label deep network and
       polar transformation, TMI 37(7), 2018, section II.A.

    Examples
    --------
    >>> net = MNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 8))
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 2, 9, 6])
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        up: str = "resize",
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, **arguments)
        ndim, steps, levels, in_channels = self.ndim, self.steps, len(widths), self.in_channels

        def convs(given: int, level: int, count: int) -> nn.Sequential:
            width, kernel = widths[level], self.kernels[level]
            return relu_convs(ndim, given, width, count=count, kernel=kernel, norm=self.norm)

        self.encoder = nn.ModuleList([convs(in_channels, 0, 2)])
        self.pools, self.shrink, self.left = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(1, levels):
            step = steps[level]
            self.pools.append(MAX_POOL[ndim](step, step))
            self.shrink.append(AVERAGE_POOL[ndim](step, step))  # type: ignore[arg-type]
            self.left.append(convs(in_channels, level, 1))
            self.encoder.append(convs(widths[level - 1] + widths[level], level, 2))
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()  # finest first
        for level, width in enumerate(widths[:-1]):
            self.ups.append(make_up(up, ndim, widths[level + 1], width, steps[level + 1]))
            self.decoder.append(convs(2 * width, level, 2))
        right = widths[: max(1, levels - 1)]
        self.heads = nn.ModuleList(CONV[ndim](w, self.num_classes, 1) for w in right)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = small = pad_to_divisor(image, self.divisor)
        x = self.encoder[0](padded)
        skips = []
        for pool, shrink, left, convs in zip(
            self.pools, self.shrink, self.left, self.encoder[1:], strict=True
        ):
            skips.append(x)
            small = shrink(small)
            x = convs(torch.cat((pool(x), left(small)), dim=1))
        maps = [] if skips else [x]
        for level in reversed(range(len(skips))):
            x = self.decoder[level](torch.cat((skips[level], self.ups[level](x)), dim=1))
            maps.append(x)
        own = [head(x) for head, x in zip(self.heads, reversed(maps), strict=True)]
        total = own[0]
        for logits in own[1:]:
            total = total + resize(logits, padded.shape[2:])
        mean = crop_to(total / len(own), image.shape[2:])
        if not self.training:
            return mean
        own[0] = crop_to(own[0], image.shape[2:])
        return Prediction(mean, tuple(own), {}, (self.aux_weight,) * len(own))
