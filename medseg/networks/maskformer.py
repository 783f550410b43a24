"""MaskFormer (semantic) in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.output import Prediction
from medseg.networks.query_decoder import PixelDecoder, QueryLayer, sine_positions
from medseg.networks.transformer import mlp, to_tokens

SMALLEST = 1e-6


class MaskFormer(PyramidNetwork):
    """Queries, each of which is a class (or none) and a mask; their sum is the segmentation [1]_.

    The logits are the logarithm of ``sum_q p_q(class) * mask_q(voxel)``, semantic inference as in
    [1]_, so that a softmax over them shares out these sums. It is trained through them too, with
    the loss of the recipe, after each layer of the decoder; ``matching`` trains it as published.
    Queries enter the decoder as
    their embedding, not as zeros, which the first attention among them could not tell apart.
    41 M parameters on ResNet-50 in 2-D (from memory of the paper: unverified).

    Parameters
    ----------
    channels, heads, layers, hidden : int
        Of the transformer: channels (also of the pyramid), attention heads, layers, and channels
        within each.
    queries : int
    matching : bool
        Match queries to the segments of the truth (Hungarian) and train their own classes and
        masks by `medseg.losses.matching`, as published; the loss of the recipe is then told and
        not trained. For labels (no regions) that every case is annotated for.
    head_norm : {"instance", "batch", "group", "none"}
        Of the pyramid.
    encoder, **arguments
        Of `medseg.networks.headed.PyramidNetwork`; ``width`` and ``norm`` are the encoder's.

    References
    ----------
    .. [1] Cheng, Schwing and Kirillov, Per-pixel classification is not all you need for semantic
       segmentation, NeurIPS 2021.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        encoder: str = "resnet50",
        channels: int = 256,
        heads: int = 8,
        layers: int = 6,
        hidden: int = 2048,
        queries: int = 100,
        matching: bool = False,
        head_norm: str = "group",
        **arguments: Any,
    ) -> None:
        make = partial(
            _Head,
            channels=channels,
            heads=heads,
            layers=layers,
            hidden=hidden,
            queries=queries,
            matching=matching,
            head_norm=head_norm,
        )
        super().__init__(make, encoder=encoder, **arguments)


class _Head(nn.Module):
    """The pixel decoder beside the transformer's, and the sum of the masks of each class."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        channels: int,
        heads: int,
        layers: int,
        hidden: int,
        queries: int,
        matching: bool,
        head_norm: str,
        **_: Any,
    ) -> None:
        super().__init__()
        self.matching = matching
        self.pixels = PixelDecoder(encoder, channels, ndim=ndim, norm=head_norm)
        self.project = CONV[ndim](encoder.channels[-1], channels, 1)
        self.layers = nn.ModuleList(QueryLayer(channels, heads, hidden) for _ in range(layers))
        self.query = nn.Parameter(torch.empty(1, queries, channels))
        self.norm = nn.LayerNorm(channels)
        self.classify = nn.Linear(channels, num_classes + 1)  # the last one is "none"
        self.embed = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), mlp(channels, channels, nn.ReLU)
        )
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
