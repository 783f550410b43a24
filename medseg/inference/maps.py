"""Probability and uncertainty, voxel by voxel, from logits; kept in one byte per voxel.

All maps lie in [0, 1]. With softmax over K classes entropies are divided by ``ln K``; with regions
the binary entropy of each, divided by ``ln 2``, is averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from medseg.inference.clues import ClueCounter
from medseg.inference.ensemble import Ensemble
from medseg.inference.flips import flipped
from medseg.labels import LabelScheme

MapName = Literal["foreground", "classes", "entropy", "disagreement"]
"""``foreground``: probability of anything but background (of the likeliest region); ``classes``:
one map per output channel; ``entropy``: of the blended probabilities; ``disagreement``: see
`Disagreement`."""

MAPS: tuple[MapName, ...] = get_args(MapName)


def probabilities(logits: Tensor, *, regions: bool) -> Tensor:
    """Return softmax or, for regions, sigmoid over the first axis of (C, *spatial)."""
    return logits.sigmoid() if regions else logits.softmax(0)


def entropy(probs: Tensor, *, regions: bool) -> Tensor:
    """Return the entropy of probabilities (C, *spatial), 0 where certain, 1 where all are equal.

    Returns
    -------
    Tensor of shape (*spatial,)

    Examples
    --------
    >>> entropy(torch.tensor([[0.5, 1.0], [0.5, 0.0]]), regions=False)
    tensor([1., 0.])
    """
    if regions:
        return (_minus_p_log_p(probs) + _minus_p_log_p(1 - probs)).mean(0) / math.log(2)
    return _minus_p_log_p(probs).sum(0) / math.log(max(2, probs.shape[0]))


def mutual_information(members: Tensor, *, regions: bool) -> Tensor:
    """Return how far the members' probabilities disagree: entropy of the mean less mean entropy.

    0 where all say the same, however uncertain; 1 where certain members say each class equally
    often.

    Parameters
    ----------
    members : Tensor of shape (M, C, *spatial)

    References
    ----------
    .. [1] Smith and Gal, Understanding measures of uncertainty for adversarial example detection,
       UAI 2018 (equation 2).

    Examples
    --------
    >>> certain = torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]])
    >>> mutual_information(certain, regions=False)
    tensor([1.])
    """
    each = torch.stack([entropy(probs, regions=regions) for probs in members])
    return (entropy(members.mean(0), regions=regions) - each.mean(0)).clamp_min(0)


class Disagreement(nn.Module):
    """Adds one channel to a network's mean logits: the disagreement of members and flips.

    It is taken tile by tile and then blended as the logits are. (Its own forward averages the
    flips, so the window around it must not.)

    Parameters
    ----------
    network : nn.Module
        An `Ensemble`, or one network where there are flips.
    mirror_axes : sequence of int
        Spatial axes to flip.
    clues : ClueCounter, optional
        Is told what each flip saw.
    """

    def __init__(
        self,
        network: nn.Module,
        mirror_axes: Sequence[int],
        *,
        regions: bool,
        clues: ClueCounter | None = None,
    ) -> None:
        super().__init__()
        self.members = (
            network.members if isinstance(network, Ensemble) else nn.ModuleList([network])
        )
        self.mirror_axes, self.regions, self.clues = tuple(mirror_axes), regions, clues

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to (B, num_classes + 1, *spatial)."""
        answers = [
            answer.float()
            for member in self.members
            for answer in flipped(member, image, self.mirror_axes)
        ]
        stacked = torch.stack(answers)  # (M, B, C, *spatial)
        if self.clues is not None and self.mirror_axes:
            flips = stacked.reshape(len(self.members), -1, *stacked.shape[1:]).mean(0)
            decode = self.clues.decode
            self.clues.hear(
                [decode(one.movedim(1, 0)) for one in flips], decode(stacked.mean(0).movedim(1, 0))
            )
        probs = stacked.sigmoid() if self.regions else stacked.softmax(2)
        spread = [mutual_information(probs[:, i], regions=self.regions) for i in range(len(image))]
        return torch.cat((stacked.mean(0), torch.stack(spread)[:, None]), dim=1)


def map_functions(
    scheme: LabelScheme, names: Sequence[MapName]
) -> Mapping[MapName, Callable[[Tensor], Tensor]]:
    """Return what turns logits (C, *block) into each map's uint8 values (K, *block).

    ``disagreement`` reads the channel after those of the scheme.
    """
    regions, count = scheme.activation == "sigmoid", scheme.num_classes

    def probs(logits: Tensor) -> Tensor:
        return probabilities(logits[:count], regions=regions)

    def foreground(logits: Tensor) -> Tensor:
        found = probs(logits)
        return to_byte(found.amax(0) if regions else 1 - found[0])[None]

    table: dict[MapName, Callable[[Tensor], Tensor]] = {
        "foreground": foreground,
        "classes": lambda logits: to_byte(probs(logits)),
        "entropy": lambda logits: to_byte(entropy(probs(logits), regions=regions))[None],
        "disagreement": lambda logits: to_byte(logits[count])[None],
    }
    return {name: table[name] for name in names}


def channels_of(name: MapName, scheme: LabelScheme) -> int:
    """Count the channels of a map."""
    return scheme.num_classes if name == "classes" else 1


def to_byte(values: Tensor) -> Tensor:
    """Round [0, 1] to 0..255; the error is at most 1/510."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _minus_p_log_p(probs: Tensor) -> Tensor:
    """Return -p ln p, 0 where p is 0."""
    product: Tensor = torch.special.xlogy(probs, probs)
    return -product
