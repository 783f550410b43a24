"""SegNeXt in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.context.ham import Hamburger
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize, scaled


class SegNeXt(PyramidNetwork):
    """Convolutional attention in the encoder, and a hamburger on its last three stages [1]_.

    With 150 classes in 2-D 4.26 M parameters ("mscan_t", the default) and 27.64 M ("mscan_b" with
    512 ``ham_channels`` and ``channels``).

    Parameters
    ----------
    ham_channels, channels : int
        Of the hamburger and of the logits' input, before ``width``: 256 for T and S, 512 for B and
        1024 for L.
    rank : int
        Of the hamburger.
    head_norm : {"instance", "batch", "group", "none"}
    dropout : float
        Probability for a whole channel before the logits.
    encoder, **arguments
        Of `medseg.networks.headed.PyramidNetwork`, and ``drop_path``; ``norm`` is the encoder's.

    References
    ----------
    .. [1] Guo et al., SegNeXt: rethinking convolutional attention design for semantic
       segmentation, NeurIPS 2022.

    Examples
    --------
    >>> net = SegNeXt(ndim=2, in_channels=1, num_classes=2, width=0.25)
    >>> net.eval()(torch.zeros(1, 1, 33, 20)).shape
    torch.Size([1, 2, 33, 20])
    """

    def __init__(
        self,
        *,
        encoder: str = "mscan_t",
        ham_channels: int = 256,
        channels: int = 256,
        rank: int = 16,
        head_norm: str = "group",
        dropout: float = 0.1,
        **arguments: Any,
    ) -> None:
        make = partial(
            _Head,
            ham_channels=ham_channels,
            channels=channels,
            rank=rank,
            head_norm=head_norm,
            dropout=dropout,
        )
        super().__init__(make, encoder=encoder, **arguments)


class _Head(nn.Sequential):
    """The maps from the second stage on, side by side, through a row of modules to logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        ham_channels: int,
        channels: int,
        rank: int,
        head_norm: str,
        dropout: float,
        **_: Any,
    ) -> None:
        given, one = sum(encoder.channels[2:]), (1,) * ndim
        ham, wide = scaled(ham_channels, width), scaled(channels, width)
        super().__init__(
            ConvNormAct(ndim, given, ham, kernel=one, norm=head_norm),
            Hamburger(ndim, ham, rank=rank, norm=head_norm),
            ConvNormAct(ndim, ham, wide, kernel=one, norm=head_norm),
            classifier(ndim, wide, num_classes, dropout),
        )
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the second stage's map."""
        finest = maps[2].shape[2:]
        x = torch.cat([resize(x, finest) for x in maps[2:]], dim=1)
        logits: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return logits
