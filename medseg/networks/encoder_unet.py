"""U-Net decoder on any encoder, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.arguments import per_level
from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.layers import ConvNormAct, resize, scaled
from medseg.networks.output import Prediction


class EncoderUNet(EncoderNetwork):
    """The way up of a U-Net [1]_ with an encoder of another kind as the way down.

    From the coarsest map on: interpolation to the next finer map, concatenation with it, two
    convolutions. The last level, at the image's own resolution, has no map to join.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`, or ``timm:`` and a model of timm.
    width : float
        Multiplies the channels of encoder and decoder.
    decoder_channels : sequence of int
        Of the levels of the decoder, coarsest first and as many as the encoder's maps, before
        ``width``; the last is at the image's resolution.
    deep_supervision : bool
        In training, also return logits of the two levels before the last.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and decoder.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``output_stride``, ...

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
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet34",
        width: float = 1.0,
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        deep_supervision: bool = True,
        norm: str = "batch",
        **encoder_arguments: Any,
    ) -> None:
        pyramid = build_encoder(
            encoder, ndim=ndim, in_channels=in_channels, width=width, norm=norm, **encoder_arguments
        )
        wide = per_level(decoder_channels, len(pyramid.channels), "network.decoder_channels")
        head = _Decoder(
            pyramid,
            [scaled(c, width) for c in wide],
            num_classes,
            ndim=ndim,
            norm=norm,
            heads=3 if deep_supervision else 1,
        )
        super().__init__(pyramid, head)
        self.ndim = ndim

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
        channels: Sequence[int],
        num_classes: int,
        *,
        ndim: int,
        norm: str,
        heads: int,
    ) -> None:
        super().__init__()
        self.steps = encoder.strides[0]
        self.levels = nn.ModuleList()
        above = encoder.channels[-1]
        for skip, wide in zip((*encoder.channels[-2::-1], 0), channels, strict=True):
            self.levels.append(
                nn.Sequential(
                    ConvNormAct(ndim, above + skip, wide, kernel=encoder.kernel, norm=norm),
                    ConvNormAct(ndim, wide, wide, kernel=encoder.kernel, norm=norm),
                )
            )
            above = wide
        self.heads = nn.ModuleList(CONV[ndim](c, num_classes, 1) for c in channels[-heads:])
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
