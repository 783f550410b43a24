"""SETR in 2-D and 3-D: a vision transformer with one of three decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from medseg.errors import ConfigError
from medseg.networks.base import EncoderNetwork
from medseg.networks.encoders.base import Axes
from medseg.networks.encoders.vit import ViT
from medseg.networks.layers import scaled
from medseg.networks.setr_heads import AggregateHead, RowHead
from medseg.registry import nearest

DECODERS = ("naive", "pup", "mla")


class SETR(EncoderNetwork):
    """A vision transformer (ViT-L/16) as encoder, and one of three decoders [1]_.

    "naive" is two 1x1 convolutions; "pup" four convolutions, each followed by doubling the size;
    "mla" sums the maps of four layers top down and puts what is made of each side by side. About
    305 M parameters in 2-D (310 for "pup" and "mla"), auxiliary heads excluded; the paper prints no
    second decimal, and there is no exact count to hold against: unverified.

    Parameters
    ----------
    ndim, in_channels, num_classes : int
        Axes and channels of the image, and channels of the logits.
    decoder : {"naive", "pup", "mla"}
    embed_dim, depth, heads, **arguments
        Of `medseg.networks.encoders.vit.ViT`.
    take : sequence of int, optional
        Layers that auxiliary heads and "mla" read, the last one at the end. Default: those at 10,
        15, 20 and 24 of 24 ("mla": at every quarter).
    width : float
        Multiplies the channels of the decoder.
    norm : {"batch", "instance", "group", "none"}
        Of the decoder.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on each layer taken but the last ("mla": on
        each).

    References
    ----------
    .. [1] Zheng et al., Rethinking semantic segmentation from a sequence-to-sequence perspective
       with transformers, CVPR 2021.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        decoder: str = "naive",
        embed_dim: int = 1024,
        depth: int = 24,
        heads: int = 16,
        take: Sequence[int] | None = None,
        width: float = 1.0,
        norm: str = "batch",
        dropout: float = 0.0,
        auxiliary: bool = True,
        **arguments: Any,
    ) -> None:
        if decoder not in DECODERS:
            raise ConfigError(
                f"network.arguments.decoder: no '{decoder}'; {nearest(decoder, DECODERS)}"
            )
        layers = take if take is not None else _layers(depth, decoder == "mla")
        vit = ViT(
            ndim=ndim,
            in_channels=in_channels,
            embed_dim=embed_dim,
            depth=depth,
            heads=heads,
            take=layers,
            **arguments,
        )
        wide, kernel, one = scaled(256, width), vit.kernel, (1,) * ndim

        def row(level: int, convs: int, kernel: Axes, factor: int) -> nn.Module:
            return RowHead(
                ndim, embed_dim, wide, num_classes, level, convs, kernel, factor, norm, dropout
            )

        aux: list[nn.Module]
        if decoder == "mla":
            head: nn.Module = AggregateHead(
                ndim, len(vit.channels), embed_dim, num_classes, kernel, wide, norm, dropout
            )
            aux = [row(i, 1, one, 1) for i in range(len(vit.channels))]
        elif decoder == "pup":
            head = row(-1, 4, kernel, 2)
            aux = [row(i, 1, kernel, 4) for i in range(len(vit.channels) - 1)]
        else:
            head = row(-1, 1, one, 1)
            aux = [row(i, 1, one, 1) for i in range(len(vit.channels) - 1)]
        super().__init__(vit, head, aux if auxiliary else [])
        self.ndim = ndim


def _layers(depth: int, even: bool) -> tuple[int, ...]:
    """Return the layers to read of a transformer: 9, 14, 19, 23 or 5, 11, 17, 23 of 24."""
    parts = (0.25, 0.5, 0.75) if even else (10 / 24, 15 / 24, 20 / 24)
    return tuple(sorted({*(max(0, round(depth * p) - 1) for p in parts), depth - 1}))


SETRS: Mapping[str, Callable[..., nn.Module]] = {
    f"setr_{decoder}": partial(SETR, decoder=decoder) for decoder in DECODERS
}
