"""Gated shape CNN in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import crop_to, init_weights, pad_to_divisor
from medseg.networks.context.aspp import make_aspp
from medseg.networks.context.shape_stream import ShapeStream
from medseg.networks.encoders import build_encoder
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, conv_units, resize, scaled
from medseg.networks.output import Prediction


class GatedSCNN(nn.Module):
    """A narrow stream for shape, gated by the encoder, finds the edges of classes [1]_.

    The image's own edges (Canny) and those of the stream join the context module (ASPP). In
    training ``extras["edges"]`` holds the stream's scores (B, 1, *spatial), for the loss of the
    classes' borders (`medseg.losses.edges`), and ``extras["dual_edges"]`` the same for the
    regulariser between both tasks (`medseg.losses.dual_task`). 137 M parameters on Wide ResNet-38
    in the paper; on ResNet-50 there is no count: unverified.

    Parameters
    ----------
    ndim, in_channels, num_classes, encoder, width, norm, **encoder_arguments
        As those of `medseg.networks.headed.PyramidNetwork`.
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels, low_channels : int
        Of the context module and of the finer map beside it, before ``width``.
    shape_channels : int
        Of the shape stream's first block; each gate halves them.
    rates : sequence of int, optional
        Dilations of the context module; by default from the output stride.
    dropout : float
        Probability for a whole channel before the logits.

    References
    ----------
    .. [1] Takikawa et al., Gated-SCNN: gated shape CNNs for semantic segmentation, ICCV 2019.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50_v1c",
        width: float = 1.0,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 256,
        low_channels: int = 48,
        shape_channels: int = 64,
        rates: Sequence[int] | None = None,
        norm: str = "batch",
        dropout: float = 0.1,
        **encoder_arguments: Any,
    ) -> None:
        super().__init__()
        self.ndim = ndim
        self.encoder = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            output_stride=output_stride,
            **encoder_arguments,
        )
        self.divisor = self.encoder.divisor
        given, kernel, one = self.encoder.channels, self.encoder.kernel, (1,) * ndim
        wide, low = scaled(channels, width), scaled(low_channels, width)
        self.shape = ShapeStream(ndim, self.encoder, shape_channels, norm)
        self.context = make_aspp(self.encoder, ndim, wide, rates=rates, norm=norm)
        self.edge = ConvNormAct(ndim, 1, wide, kernel=one, norm=norm)
        self.join = ConvNormAct(ndim, 2 * wide, wide, kernel=one, norm=norm)
        self.low = ConvNormAct(ndim, given[1], low, kernel=one, norm=norm)
        self.refine = nn.Sequential(
            *conv_units(ndim, wide + low, wide, 2, kernel=kernel, norm=norm),
            classifier(ndim, wide, num_classes, dropout),
        )
        for part in (self.shape, self.context, self.edge, self.join, self.low, self.refine):
            part.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        maps = self.encoder(padded)
        scores, edges = self.shape(maps, padded)
        x = self.context(maps[-1])
        x = self.join(torch.cat((x, self.edge(resize(edges, x.shape[2:]))), dim=1))
        low = self.low(maps[1])
        x = self.refine(torch.cat((resize(x, low.shape[2:]), low), dim=1))
        logits = crop_to(resize(x, padded.shape[2:]), image.shape[2:])
        if not self.training:
            return logits
        edges = crop_to(scores, image.shape[2:])
        return Prediction(logits, extras={"edges": edges, "dual_edges": edges})
