"""SETR in 2-D and 3-D: a vision transformer with one of three decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Axes
from medseg.networks.encoders.vit import ViT
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize, scaled
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
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    decoder : {"naive", "pup", "mla"}
    embed_dim, depth, heads : int
        Of the transformer.
    patch, grid : int or sequence of int, optional
        Side of its patches, and patches per axis that have a position of their own (interpolated
        for images of another size).
    take : sequence of int, optional
        Layers that auxiliary heads and "mla" read, the last one at the end. Default: those at 10,
        15, 20 and 24 of 24 ("mla": at every quarter).
    width : float
        Multiplies the channels of the decoder.
    norm : {"batch", "instance", "group", "none"}
        Of the decoder.
    drop_path, dropout : float
        Probability to skip a branch of the encoder, and to drop a channel before the logits.
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
        patch: int | Sequence[int] = 16,
        grid: int | Sequence[int] | None = None,
        take: Sequence[int] | None = None,
        width: float = 1.0,
        norm: str = "batch",
        drop_path: float = 0.0,
        dropout: float = 0.0,
        auxiliary: bool = True,
    ) -> None:
        if decoder not in DECODERS:
            raise ConfigError(f"network.decoder: no '{decoder}'; {nearest(decoder, DECODERS)}")
        layers = take if take is not None else _layers(depth, decoder == "mla")
        vit = ViT(
            ndim=ndim,
            in_channels=in_channels,
            embed_dim=embed_dim,
            depth=depth,
            heads=heads,
            patch=patch,
            grid=grid,
            take=layers,
            drop_path=drop_path,
        )
        wide, kernel, one = scaled(256, width), vit.kernel, (1,) * ndim

        def row(level: int, convs: int, kernel: Axes, factor: int) -> nn.Module:
            return _Row(
                ndim, embed_dim, wide, num_classes, level, convs, kernel, factor, norm, dropout
            )

        aux: list[nn.Module]
        if decoder == "mla":
            head: nn.Module = _MLA(
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


class _Row(nn.Module):
    """Layer norm of one map, convolutions each followed by interpolation, logits."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        num_classes: int,
        level: int,
        convs: int,
        kernel: Axes,
        factor: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.level, self.factor = level, factor
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.convs = nn.ModuleList(
            ConvNormAct(ndim, width if i else channels, width, kernel=kernel, norm=norm)
            for i in range(convs)
        )
        self.classify = classifier(ndim, width, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits, larger than the map by the factor of each convolution."""
        x = self.norm(maps[self.level].movedim(1, -1)).movedim(-1, 1)
        for conv in self.convs:
            x = conv(x)
            x = resize(x, [n * self.factor for n in x.shape[2:]])
        logits: Tensor = self.classify(x)
        return logits


class _MLA(nn.Module):
    """Each map projected, summed with the deeper ones, convolved; all side by side to logits."""

    def __init__(
        self,
        ndim: int,
        count: int,
        channels: int,
        num_classes: int,
        kernel: Axes,
        width: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()

        def units(given: int, made: int, kernel: Axes) -> nn.ModuleList:
            return nn.ModuleList(
                ConvNormAct(ndim, given, made, kernel=kernel, norm=norm) for _ in range(count)
            )

        half = max(1, width // 2)
        self.norms = nn.ModuleList(nn.LayerNorm(channels, eps=1e-6) for _ in range(count))
        self.project = units(channels, width, (1,) * ndim)
        self.smooth = units(width, width, kernel)
        self.narrow, self.refine = units(width, half, kernel), units(half, half, kernel)
        self.classify = classifier(ndim, count * half, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at four times the size of the maps."""
        projected = [
            project(norm(x.movedim(1, -1)).movedim(-1, 1))
            for project, norm, x in zip(self.project, self.norms, maps, strict=True)
        ]
        total, streams = torch.zeros_like(projected[-1]), []
        for i in reversed(range(len(maps))):  # the deepest layer first
            total = total + projected[i]
            x = self.refine[i](self.narrow[i](self.smooth[i](total)))
            streams.append(resize(x, [4 * n for n in x.shape[2:]]))
        logits: Tensor = self.classify(torch.cat(streams, dim=1))
        return logits


SETRS: Mapping[str, Callable[..., nn.Module]] = {
    f"setr_{decoder}": partial(SETR, decoder=decoder) for decoder in DECODERS
}
