"""Gated shape CNN in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV, crop_to, init_weights, make_norm, pad_to_divisor
from medseg.networks.context.aspp import make_aspp
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize, scaled
from medseg.networks.output import Prediction


class GatedSCNN(nn.Module):
    """A narrow stream for shape, gated by the encoder, finds the edges of classes [1]_.

    The edges join the context module (ASPP), and in training ``extras["edges"]`` holds their scores
    (B, 1, *spatial), for the loss between classes' borders. Departures: the image's own edges are
    the length of its gradient in place of Canny's, so that they are there in 3-D; and the
    regulariser between both tasks is left out. 137 M parameters on Wide ResNet-38 in the paper;
    on ResNet-50 there is no count: unverified.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of encoder and heads; 0.5 is a fair start in 3-D.
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels, low_channels : int
        Of the context module and of the finer map beside it, before ``width``.
    shape_channels : int
        Of the shape stream's first block; each gate halves them.
    rates : sequence of int, optional
        Dilations of the context module; by default from the output stride.
    norm : {"instance", "batch", "group", "none"}
    dropout : float
        Probability for a whole channel before the logits.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

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
        self.shape = _ShapeStream(ndim, self.encoder, shape_channels, norm)
        self.context = make_aspp(self.encoder, ndim, wide, rates=rates, norm=norm)
        self.edge = ConvNormAct(ndim, 1, wide, kernel=one, norm=norm)
        self.join = ConvNormAct(ndim, 2 * wide, wide, kernel=one, norm=norm)
        self.low = ConvNormAct(ndim, given[1], low, kernel=one, norm=norm)
        self.refine = nn.Sequential(
            ConvNormAct(ndim, wide + low, wide, kernel=kernel, norm=norm),
            ConvNormAct(ndim, wide, wide, kernel=kernel, norm=norm),
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
        return Prediction(logits, extras={"edges": crop_to(scores, image.shape[2:])})


class _ShapeStream(nn.Module):
    """Residual blocks on the encoder's first map, each gated by one of its deeper ones."""

    def __init__(self, ndim: int, encoder: Encoder, channels: int, norm: str) -> None:
        super().__init__()
        conv, given, kernel = CONV[ndim], encoder.channels, encoder.kernel
        widths = [max(1, channels // 2**i) for i in range(4)]
        self.first = conv(given[0], widths[0], 1)
        self.seen = nn.ModuleList(conv(c, 1, 1) for c in given[-3:])
        self.blocks, self.narrow, self.gates = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for above, below in pairwise(widths):
            self.blocks.append(
                nn.Sequential(
                    ConvNormAct(ndim, above, above, kernel=kernel, norm=norm),
                    ConvNormAct(ndim, above, above, kernel=kernel, norm=norm, activate=False),
                )
            )
            self.narrow.append(conv(above, below, 1))
            self.gates.append(_Gate(ndim, below, norm))
        self.score = conv(widths[-1], 1, 1)
        self.join = conv(2, 1, 1)

    def forward(self, maps: list[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of edges and, with those of the image, edges in [0, 1], at its size."""
        x = self.first(maps[0])
        for i, gate in enumerate(self.gates):
            x = self.narrow[i]((x + self.blocks[i](x)).relu())
            x = gate(x, resize(self.seen[i](maps[len(maps) - 3 + i]), x.shape[2:]))
        scores = resize(self.score(x), image.shape[2:])
        own = gradient_length(image).to(scores.dtype)
        return scores, self.join(torch.cat((scores.sigmoid(), own), dim=1)).sigmoid()


class _Gate(nn.Module):
    """Weigh the shape stream by what it and a deeper map show (equations 1 and 2)."""

    def __init__(self, ndim: int, channels: int, norm: str) -> None:
        super().__init__()
        conv, both = CONV[ndim], channels + 1
        self.weigh = nn.Sequential(
            make_norm(norm, ndim, both),
            conv(both, both, 1),
            nn.ReLU(),
            conv(both, 1, 1),
            make_norm(norm, ndim, 1),
        )
        self.mix = conv(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Map (B, channels, *spatial), beside (B, 1, *spatial), to the same shape."""
        out: Tensor = self.mix(x * (self.weigh(torch.cat((x, seen), dim=1)).sigmoid() + 1))
        return out


def gradient_length(image: Tensor) -> Tensor:
    """Return the length of the gradient, at most 1 in each image.

    Parameters
    ----------
    image : float Tensor of shape (B, C, *spatial)

    Returns
    -------
    float Tensor of shape (B, 1, *spatial)
        Of the mean over the channels; 0 in an image that is the same everywhere.
    """
    x = image.float().mean(1, keepdim=True)
    squares = torch.zeros_like(x)
    for axis in range(2, x.ndim):
        before = torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)), axis)
        after = torch.cat((x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, -1, 1)), axis)
        squares = squares + (after - before).square()
    length = squares.sqrt()
    return length / length.flatten(1).amax(1).clamp(min=1e-6).view(-1, *(1,) * (x.ndim - 1))
