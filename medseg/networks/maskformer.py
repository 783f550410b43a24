"""MaskFormer (semantic) in 2-D and 3-D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.layers import ConvNormAct
from medseg.networks.output import Prediction
from medseg.networks.transformer import Attention, mlp, to_tokens

SMALLEST = 1e-6


class MaskFormer(EncoderNetwork):
    """Queries, each of which is a class (or none) and a mask; their sum is the segmentation [1]_.

    The logits are the logarithm of ``sum_q p_q(class) * mask_q(voxel)``, semantic inference as in
    [1]_, so that a softmax over them shares out these sums. It is trained through them too, with
    the loss of the recipe, after each layer of the decoder; ``matching`` trains it as published.
    Queries enter the decoder as
    their embedding, not as zeros, which the first attention among them could not tell apart.
    41 M parameters on ResNet-50 in 2-D (from memory of the paper: unverified).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of the encoder; 0.5 is a fair start in 3-D.
    channels, heads, layers, hidden : int
        Of the transformer: channels (also of the pyramid), attention heads, layers, and channels
        within each.
    queries : int
    matching : bool
        Match queries to the segments of the truth (Hungarian) and train their own classes and
        masks by `medseg.losses.matching`, as published; the loss of the recipe is then told and
        not trained. For labels (no regions) that every case is annotated for.
    head_norm, norm : {"instance", "batch", "group", "none"}
        Of the pyramid and of the encoder.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Cheng, Schwing and Kirillov, Per-pixel classification is not all you need for semantic
       segmentation, NeurIPS 2021.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50",
        width: float = 1.0,
        channels: int = 256,
        heads: int = 8,
        layers: int = 6,
        hidden: int = 2048,
        queries: int = 100,
        matching: bool = False,
        head_norm: str = "group",
        norm: str = "batch",
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
        head = _Head(
            _PixelDecoder(pyramid, channels, ndim=ndim, norm=head_norm),
            CONV[ndim](pyramid.channels[-1], channels, 1),
            [_Layer(channels, heads, hidden) for _ in range(layers)],
            queries,
            channels,
            num_classes,
            matching=matching,
        )
        super().__init__(pyramid, head)
        self.ndim = ndim


class _PixelDecoder(nn.Module):
    """A feature pyramid down to the first stage's map, and the vectors that masks are made of."""

    def __init__(self, encoder: Encoder, channels: int, *, ndim: int, norm: str) -> None:
        super().__init__()
        kernel, given = encoder.kernel, encoder.channels[1:]

        def unit(made_of: int, sides: tuple[int, ...], *, activate: bool) -> ConvNormAct:
            return ConvNormAct(ndim, made_of, channels, kernel=sides, norm=norm, activate=activate)

        self.top = unit(given[-1], kernel, activate=True)
        self.laterals = nn.ModuleList(unit(c, (1,) * ndim, activate=False) for c in given[:-1])
        self.smooth = nn.ModuleList(unit(channels, kernel, activate=True) for _ in given[:-1])
        margin = tuple(k // 2 for k in kernel)
        self.last = CONV[ndim](channels, channels, kernel, padding=margin)  # type: ignore[arg-type]
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return vectors (B, channels, *spatial) at the size of the first stage's map."""
        x = self.top(maps[-1])
        for i in reversed(range(len(self.laterals))):
            lateral = self.laterals[i](maps[1 + i])
            x = self.smooth[i](lateral + functional.interpolate(x, lateral.shape[2:]))
        out: Tensor = self.last(x)
        return out


class _Layer(nn.Module):
    """Attention among the queries and to the map, two linear layers; a layer norm after each."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.own, self.cross = Attention(width, heads), Attention(width, heads)
        self.feed = mlp(width, hidden, nn.ReLU)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, query: Tensor, seen: Tensor, places: Tensor) -> Tensor:
        """Map queries (B, Q, width) to the same shape; see `Attention`."""
        x = self.norms[0](x + self.own(x + query, x, query))
        x = self.norms[1](x + self.cross(x + query, seen, places))
        out: Tensor = self.norms[2](x + self.feed(x))
        return out


class _Head(nn.Module):
    """The pixel decoder beside the transformer's, and the sum of the masks of each class."""

    def __init__(
        self,
        pixels: nn.Module,
        project: nn.Module,
        layers: list[_Layer],
        queries: int,
        width: int,
        num_classes: int,
        *,
        matching: bool,
    ) -> None:
        super().__init__()
        self.matching = matching
        self.pixels, self.project, self.layers = pixels, project, nn.ModuleList(layers)
        self.query = nn.Parameter(torch.empty(1, queries, width))
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, num_classes + 1)  # the last one is "none"
        self.embed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), mlp(width, width, nn.ReLU))
        for weight in self.parameters():
            if weight.ndim == 2:  # wide enough for queries to differ from the start
                nn.init.xavier_uniform_(weight)
        nn.init.normal_(self.query)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the first stage's map, and what trains the earlier layers.

        These are their logits, or of each layer (the last included) classes and masks of queries.
        """
        pixels, top = self.pixels(maps), self.project(maps[-1])
        places = to_tokens(sine_positions(top.shape[1], top.shape[2:], top.device)).to(top.dtype)
        seen, query = to_tokens(top), self.query.expand(len(top), -1, -1).to(top.dtype)
        x, made = query, []
        for i, layer in enumerate(self.layers):
            x = layer(x, query, seen, places)
            if self.training or i == len(self.layers) - 1:
                normed = self.norm(x)
                masks = (self.embed(normed) @ pixels.flatten(2)).float()  # (B, Q, N)
                made.append((self.classify(normed).float(), masks))
        sizes = pixels.shape[2:]
        if not (self.training and self.matching):
            levels = [self._segment(*one, sizes).to(pixels.dtype) for one in made]
            return Prediction(levels[-1], tuple(levels[:-1]))
        extras = {}
        for i, (classes, masks) in enumerate(made):
            extras[f"query_classes_{i}"] = classes.flatten(1)[(..., *(None,) * len(sizes))]
            extras[f"query_masks_{i}"] = masks.view(*masks.shape[:2], *sizes)
        logits = self._segment(*made[-1], sizes).detach().to(pixels.dtype)
        return Prediction(logits, (), extras)

    def _segment(self, classes: Tensor, masks: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the logits (B, num_classes, *sizes) of queries' classes and masks (B, Q, ...)."""
        shares = classes.softmax(-1)[..., :-1]
        total = (shares.transpose(1, 2) @ masks.sigmoid()).float().clamp(min=SMALLEST)
        logits: Tensor = total.log()
        return logits.view(*logits.shape[:2], *sizes)


def sine_positions(channels: int, sizes: Sequence[int], device: torch.device) -> Tensor:
    """Return sines and cosines of each coordinate, at wavelengths from 1 to 10000 of a map's side.

    Parameters
    ----------
    channels : int
        Shared out among the axes; what is left over stays 0.
    sizes : sequence of int
        Of the map, of which every axis runs from 0 to 2 pi.
    device : torch.device

    Returns
    -------
    float Tensor of shape (1, channels, *sizes)
    """
    waves = channels // (2 * len(sizes))
    parts = []
    for axis, size in enumerate(sizes):
        angle = (torch.arange(size, device=device) + 0.5) * (2 * math.pi / size)
        rates = 10000 ** -(torch.arange(waves, device=device) / max(1, waves))
        phase = rates[:, None] * angle  # (waves, size)
        part = torch.cat((phase.sin(), phase.cos()))
        shape = [1] * len(sizes)
        shape[axis] = size
        parts.append(part.view(2 * waves, *shape).expand(2 * waves, *sizes))
    parts.append(torch.zeros(channels - 2 * waves * len(sizes), *sizes, device=device))
    return torch.cat(parts)[None]
