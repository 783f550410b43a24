"""DFANet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Encoder
from medseg.networks.encoders.cascade import Cascade
from medseg.networks.headed import PyramidNetwork
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize, scaled


class DFANet(PyramidNetwork):
    """Three thin Xceptions, each fed by the last and by the stages of the one before [1]_.

    1.84 M parameters with 19 classes in 2-D, backbone A. The paper reports 7.8 M, which the layers
    of its table 1 do not add up to (unverified).

    Parameters
    ----------
    widths, first, dense_width : sequence of int, int, int
        Of `medseg.networks.encoders.cascade.Cascade`.
    decoder_channels : int
        Before ``width``.
    dropout : float
        Probability for a whole channel before the logits.
    **arguments
        ``ndim``, ``in_channels``, ``num_classes``, and more of the encoder.

    References
    ----------
    .. [1] Li et al., DFANet: deep feature aggregation for real-time semantic segmentation,
       CVPR 2019, table 1 and figure 3.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (48, 96, 192),
        first: int = 8,
        dense_width: int = 1000,
        decoder_channels: int = 32,
        dropout: float = 0.0,
        **arguments: Any,
    ) -> None:
        make = partial(_Decoder, channels=decoder_channels, dropout=dropout)
        arguments |= {"widths": widths, "first": first, "dense_width": dense_width}
        super().__init__(make, encoder=Cascade, **arguments)


class _Decoder(nn.Module):
    """The first stages' maps summed at the finest size and fused; the last ones' added; logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        norm: str,
        channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        wide, one = scaled(channels, width), (1,) * ndim
        self.reduce = nn.ModuleList(
            ConvNormAct(ndim, c, wide, kernel=one, norm=norm) for c in encoder.channels
        )
        self.fuse = ConvNormAct(ndim, wide, wide, kernel=encoder.kernel, norm=norm)
        self.classify = classifier(ndim, wide, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the finest map."""
        sizes = maps[0].shape[2:]
        seen = [resize(f(x), sizes) for f, x in zip(self.reduce, maps, strict=True)]
        low, high = torch.stack(seen[::2]).sum(0), torch.stack(seen[1::2]).sum(0)
        logits: Tensor = self.classify(self.fuse(low) + high)
        return logits
