"""SegNeXt in 2-D and 3-D."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.context.ham import Hamburger
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize, scaled


class SegNeXt(EncoderNetwork):
    """Convolutional attention in the encoder, and a hamburger on its last three stages [1]_.

    With 150 classes in 2-D 4.26 M parameters ("mscan_t", the default) and 27.64 M ("mscan_b" with
    512 ``ham_channels`` and ``channels``).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of encoder and head.
    ham_channels, channels : int
        Of the hamburger and of the logits' input, before ``width``: 256 for T and S, 512 for B and
        1024 for L.
    rank : int
        Of the hamburger.
    norm, head_norm : {"instance", "batch", "group", "none"}
        Of the encoder and of the head.
    dropout : float
        Probability for a whole channel before the logits.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``drop_path``, ...

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
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "mscan_t",
        width: float = 1.0,
        ham_channels: int = 256,
        channels: int = 256,
        rank: int = 16,
        norm: str = "batch",
        head_norm: str = "group",
        dropout: float = 0.1,
        **encoder_arguments: Any,
    ) -> None:
        pyramid = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            **encoder_arguments,
        )
        wide = scaled(ham_channels, width)
        one = (1,) * ndim
        head = _Head(
            ConvNormAct(ndim, sum(_read(pyramid)), wide, kernel=one, norm=head_norm),
            Hamburger(ndim, wide, rank=rank, norm=head_norm),
            ConvNormAct(ndim, wide, scaled(channels, width), kernel=one, norm=head_norm),
            classifier(ndim, scaled(channels, width), num_classes, dropout),
        )
        super().__init__(pyramid, head)
        self.ndim = ndim


def _read(encoder: Encoder) -> tuple[int, ...]:
    """Return the channels of the maps from the second stage on."""
    return encoder.channels[2:]


class _Head(nn.Sequential):
    """The maps from the second stage on, side by side, through a row of modules to logits."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the second stage's map."""
        finest = maps[2].shape[2:]
        x = torch.cat([resize(x, finest) for x in maps[2:]], dim=1)
        logits: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return logits
