"""W-Net in 2-D and 3-D: segmentation, and the image again from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.layers import MAX_POOL, ConvNormAct, Separable
from medseg.networks.levels import LevelNetwork
from medseg.networks.output import Prediction
from medseg.networks.soft_ncut import soft_ncut
from medseg.networks.unet_parts import down_and_up, make_up

RADII = {2: 5, 3: 2}


class WNet(LevelNetwork):
    """Two U-Nets: from the first one's classes alone the second one draws the image [1]_.

    Two terms need no label, and in training they come beside the logits as ``extras``: the soft
    normalised cut of the classes (``penalty_ncut``) and the squared error of the image drawn
    (``penalty_reconstruction``). Here they go along with the loss of the labels, in one step; [1]_
    has no labels and alternates between the two, then merges by a CRF and contours. The paper
    prints no number of parameters: unverified.

    Parameters
    ----------
    num_classes : int
        Classes exclude each other, so at least 2.
    radius : int, optional
        Voxels that the cut weighs against each other are at most so far apart. Default: 5 in 2-D,
        as in [1]_, and 2 in 3-D, since the pairs grow with its cube.
    unsupervised : float
        Weight of both terms beside the loss of the labels.
    up : {"resize", "transposed"}
        How a level is enlarged.
    widths, **arguments
        Of `medseg.networks.levels.LevelNetwork`, for both U-Nets.

    References
    ----------
    .. [1] Xia and Kulis, W-Net: a deep model for fully unsupervised image segmentation, arXiv
       1711.08506, 2017.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        radius: int | None = None,
        unsupervised: float = 0.1,
        up: str = "resize",
        **arguments: Any,
    ) -> None:
        if num_classes < 2:
            raise ConfigError("network wnet cuts between classes that exclude each other: take 2")
        super().__init__(num_classes=num_classes, widths=widths, **arguments)
        self.radius = RADII[self.ndim] if radius is None else radius
        self.unsupervised = unsupervised
        self.encode = _UNet(self, self.in_channels, num_classes, up)
        self.decode = _UNet(self, num_classes, self.in_channels, up)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        logits = self.encode(padded)
        if not self.training:
            return crop_to(logits, image.shape[2:])
        probs = logits.softmax(1)
        cut = soft_ncut(probs, padded, radius=self.radius)
        error = (self.decode(probs).float() - padded.float()).square().flatten(1).mean(1)
        one = (-1, *(1,) * (image.ndim - 1))
        penalties = {"penalty_ncut": cut.view(one), "penalty_reconstruction": error.view(one)}
        return Prediction(
            crop_to(logits, image.shape[2:]),
            extras={name: self.unsupervised * value for name, value in penalties.items()},
        )


class _UNet(nn.Module):
    """A U-Net whose levels but the finest have separable convolutions (figure 2)."""

    def __init__(self, of: LevelNetwork, channels: int, out_channels: int, up: str) -> None:
        super().__init__()
        ndim, widths, steps, kernels, norm = of.ndim, of.widths, of.steps, of.kernels, of.norm

        def convs(given: int, level: int) -> nn.Sequential:
            unit, width = (Separable if level else ConvNormAct), widths[level]
            return nn.Sequential(
                *(
                    unit(ndim, made_of, width, kernel=kernels[level], norm=norm)
                    for made_of in (given, width)
                )
            )

        self.encoder = nn.ModuleList([convs(channels, 0)])
        self.pools, self.ups, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(1, len(widths)):
            self.pools.append(MAX_POOL[ndim](steps[level], steps[level]))
            self.encoder.append(convs(widths[level - 1], level))
            self.ups.append(make_up(up, ndim, widths[level], widths[level - 1], steps[level]))
            self.decoder.append(convs(2 * widths[level - 1], level - 1))
        self.head = CONV[ndim](widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial)."""
        x = down_and_up(x, self.encoder, self.pools, self.ups, self.decoder)
        out: Tensor = self.head(x)
        return out
