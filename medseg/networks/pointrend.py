"""PointRend on a semantic feature pyramid, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import crop_to, pad_to_divisor
from medseg.networks.layers import resize
from medseg.networks.output import Prediction
from medseg.networks.points import coordinates, draw_points, sample, uncertainty
from medseg.networks.semantic_fpn import SemanticFPN


class PointRend(SemanticFPN):
    """Semantic FPN whose most uncertain voxels are decided one by one [1]_.

    A small network sees a voxel's vector in the finest map of the pyramid and its coarse logits. In
    evaluation the coarse logits are doubled in size until they are the image's, and after each
    doubling the ``inference_points`` least certain voxels are decided anew. In training it decides
    ``points`` voxels of the image, three quarters of them the least certain of three times as many
    at random; their logits stand in for the interpolated ones, so that the loss of the
    image sees them, and the coarse logits have a loss of their own. (The paper takes points between
    voxels and a loss of their own.) 28.72 M parameters with 19 classes in 2-D.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    points, inference_points : int
        Voxels decided in training, and after each doubling in evaluation.
    point_channels : int
        Of the small network.
    **arguments
        Of `medseg.networks.semantic_fpn.SemanticFPN`.

    References
    ----------
    .. [1] Kirillov et al., PointRend: image segmentation as rendering, CVPR 2020.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        points: int = 2048,
        inference_points: int = 8196,
        point_channels: int = 256,
        **arguments: Any,
    ) -> None:
        super().__init__(ndim=ndim, in_channels=in_channels, num_classes=num_classes, **arguments)
        fine: Any = self.head.laterals[0]
        self.points, self.inference_points = points, inference_points
        self.decide = _Decision(fine.out_channels, num_classes, point_channels)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        pyramid = self.head.pyramid(self.encoder(padded))
        coarse, full = self.head.merge(pyramid), padded.shape[2:]
        if not self.training:
            logits = coarse
            for sizes in _doublings(coarse.shape[2:], full):
                logits = resize(logits, sizes)
                places = uncertainty(logits).topk(min(self.inference_points, sizes.numel())).indices
                logits = self._decided(logits, places, pyramid[0], coarse)
            return crop_to(logits, image.shape[2:])
        logits = resize(coarse, full)
        logits = self._decided(logits, draw_points(logits, self.points), pyramid[0], coarse)
        return Prediction(crop_to(logits, image.shape[2:]), (coarse,), {}, (self.aux_weight,))

    def _decided(self, logits: Tensor, places: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Replace the logits of some voxels (B, P), numbered in order of memory."""
        where = coordinates(places, logits.shape[2:])
        new = self.decide(sample(fine, where), sample(coarse, where)).transpose(1, 2)
        index = places[:, None].expand(-1, logits.shape[1], -1)
        return logits.flatten(2).scatter(2, index, new.to(logits.dtype)).view_as(logits)


class _Decision(nn.Module):
    """Three layers, each of which is given the coarse logits once more, and the point's logits."""

    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(num_classes + (width if i else channels), width) for i in range(3)
        )
        self.classify = nn.Linear(num_classes + width, num_classes)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map vectors (B, P, channels) and logits (B, P, num_classes) to logits."""
        x = fine
        for layer in self.layers:
            x = functional.relu(layer(torch.cat((x, coarse), dim=2)))
        logits: Tensor = self.classify(torch.cat((x, coarse), dim=2))
        return logits


def _doublings(start: Sequence[int], end: torch.Size) -> list[torch.Size]:
    """Return the sizes on the way from ``start`` to ``end``, which comes at least once."""
    sizes, here = [], tuple(start)
    while here != tuple(end):
        here = tuple(min(2 * n, m) for n, m in zip(here, end, strict=True))
        sizes.append(torch.Size(here))
    return sizes or [end]
