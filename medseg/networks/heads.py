"""Heads that several networks share."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder
from medseg.networks.layers import DROPOUT, ConvNormAct, conv_units, scaled


def classifier(ndim: int, channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Return dropout of whole channels and the 1x1 convolution to logits."""
    return nn.Sequential(DROPOUT[ndim](dropout), CONV[ndim](channels, num_classes, 1))


class FCNHead(nn.Module):
    """Convolutions on one map, concatenated with it if ``concat``, then logits.

    Parameters
    ----------
    encoder : Encoder
        Whose map number ``level`` is read.
    num_classes : int
    ndim : int
    level : int
        Of the encoder's maps; may count from the end.
    channels : int
    convs : int
    concat : bool
        Fuse the result with the map in one more convolution.
    norm : str
    dropout : float
        Probability for a whole channel before the logits.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        level: int,
        channels: int,
        convs: int,
        concat: bool,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.level = level
        kernel, given = encoder.kernel, encoder.channels[level]
        self.convs = nn.Sequential(
            *conv_units(ndim, given, channels, convs, kernel=kernel, norm=norm)
        )
        self.fuse: nn.Module | None = None
        if concat:
            self.fuse = ConvNormAct(ndim, given + channels, channels, kernel=kernel, norm=norm)
        self.classify = classifier(ndim, channels, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the map that is read."""
        x = maps[self.level]
        y = self.convs(x)
        if self.fuse is not None:
            y = self.fuse(torch.cat((x, y), dim=1))
        logits: Tensor = self.classify(y)
        return logits


class ContextHead(nn.Module):
    """A context module on the coarsest map, then logits."""

    def __init__(self, context: nn.Module, classify: nn.Module) -> None:
        super().__init__()
        self.context = context
        self.classify = classify
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the coarsest map."""
        logits: Tensor = self.classify(self.context(maps[-1]))
        return logits


def map_head(
    encoder: Encoder,
    num_classes: int,
    *,
    ndim: int,
    width: float,
    norm: str,
    dropout: float,
    level: int,
    channels: int,
    convs: int = 1,
) -> FCNHead:
    """Return convolutions of ``channels`` (before ``width``) on one map, then logits."""
    return FCNHead(
        encoder,
        num_classes,
        ndim=ndim,
        level=level,
        channels=scaled(channels, width),
        convs=convs,
        concat=False,
        norm=norm,
        dropout=dropout,
    )


auxiliary_head = partial(map_head, level=-2, channels=256)
"""The usual auxiliary head: one convolution of 256 on the last map but one."""
