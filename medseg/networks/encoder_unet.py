"""U-Net decoder on any encoder, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.arguments import per_level
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.layers import conv_units, resize, scaled
from medseg.networks.output import Prediction


class EncoderUNet(PyramidNetwork):
    """The way up of a U-Net [1]_ with an encoder of another kind as the way down.

    From the coarsest map on: interpolation to the next finer map, concatenation with it, two
    convolutions. The last level, at the image's own resolution, has no map to join.

    Parameters
    ----------
    decoder_channels : sequence of int
        Of the levels of the decoder, coarsest first and as many as the encoder's maps, before
        ``width``; the last is at the image's resolution.
    deep_supervision : bool
        In training, also return logits of the two levels before the last.
    encoder, **arguments
        Of `medseg.networks.headed.PyramidNetwork`; also ``timm:`` and a model of timm.

    References
    ----------
    .. [1] Ronneberger, Fischer and Brox, U-Net: convolutional networks for biomedical image
       segmentation, MICCAI 2015; on a residual encoder as in segmentation_models.pytorch.

    Examples
    --------
    >>> net = EncoderUNet(ndim=3, in_channels=1, num_classes=2, encoder="resnet18", width=0.125)
    >>> net.eval()(torch.zeros(1, 1, 33, 20, 32)).shape
    torch.Size([1, 2, 33, 20, 32])
    """

    def __init__(
        self,
        *,
        encoder: str = "resnet34",
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        deep_supervision: bool = True,
        **arguments: Any,
    ) -> None:
        heads = 3 if deep_supervision else 1
        make = partial(_Decoder, channels=decoder_channels, heads=heads)
        super().__init__(make, encoder=encoder, **arguments)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        out = super().forward(image)
        # deep supervision: halved from level to level
        return out._replace(aux_weights=None) if isinstance(out, Prediction) else out


class _Decoder(nn.Module):
    """Levels coarsest first; ``heads`` of the finest give logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        norm: str,
        channels: Sequence[int],
        heads: int,
    ) -> None:
        super().__init__()
        self.steps, kernel = encoder.strides[0], encoder.kernel
        levels = per_level(channels, len(encoder.channels), "network.arguments.decoder_channels")
        wide = [scaled(c, width) for c in levels]
        self.levels = nn.ModuleList()
        above = encoder.channels[-1]
        for skip, made in zip((*encoder.channels[-2::-1], 0), wide, strict=True):
            units = conv_units(ndim, above + skip, made, 2, kernel=kernel, norm=norm)
            self.levels.append(nn.Sequential(*units))
            above = made
        self.heads = nn.ModuleList(CONV[ndim](c, num_classes, 1) for c in wide[-heads:])
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor | Prediction:
        """Return logits at the image's resolution and, in training, of the coarser levels."""
        x, skips = maps[-1], maps[-2::-1]
        made: list[Tensor] = []
        first = len(self.levels) - len(self.heads)
        for i, level in enumerate(self.levels):
            if i < len(skips):
                x = level(torch.cat((resize(x, skips[i].shape[2:]), skips[i]), dim=1))
            else:
                sizes = [n * s for n, s in zip(x.shape[2:], self.steps, strict=True)]
                x = level(resize(x, sizes))
            if i >= first and (self.training or i == len(self.levels) - 1):
                made.append(self.heads[i - first](x))
        return Prediction(made[-1], tuple(reversed(made[:-1])))
