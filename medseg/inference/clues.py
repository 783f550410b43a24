"""What a prediction itself tells of its quality, counted while it is made.

Two numbers per structure, both in [0, 1]:

- ``probability``: the soft Dice of the mask against the network's own probabilities,
  ``2 sum_mask(p) / (|mask| + sum(p))``: numerator and denominator are those expected of the Dice
  if each voxel belonged to the structure with its probability ``p``. A network that is too sure
  promises too much, which the calibration mends.
- ``flips``: how far the predictions of the mirrored images agree with their mean,
  ``2 sum_v |m_v and m| / sum_v(|m_v| + |m|)`` over the flips ``v`` [1]_ [2]_. Counted tile by
  tile: a voxel counts as often as tiles saw it. Of several networks a flip's answer is their mean.

Neither needs more than one set of logits beside those that the prediction holds anyway. How far
the folds of a cross-validation disagree is no clue: a validation case has one network alone that
did not see it, so what that disagreement means could not be calibrated.

References
----------
.. [1] Roy et al., Bayesian QuickNAT: model uncertainty in deep whole-brain segmentation for
   structure-wise quality control, NeuroImage 2019 (Dice agreement of samples).
.. [2] Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical image
   segmentation with convolutional neural networks, Neurocomputing 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.expected import Clue
from medseg.inference.decode import decoder
from medseg.inference.flips import predict_mirrored
from medseg.labels import LabelScheme

CHUNK_VALUES = 2**22
"""Probabilities that are held at a time."""


class ClueCounter:
    """Counts the clues of one case.

    Parameters
    ----------
    scheme : LabelScheme
    """

    def __init__(self, scheme: LabelScheme) -> None:
        self.scheme, self.decode = scheme, decoder(scheme)
        classes = len(scheme.labels) + 1
        self.regions = scheme.activation == "sigmoid"
        self.inside = np.zeros((classes, scheme.num_classes))  # sum of p of each output, by class
        self.total = np.zeros(scheme.num_classes)  # the same over all voxels
        self.voxels = np.zeros(classes, dtype=np.int64)
        self.votes = np.zeros((classes, classes), dtype=np.int64)  # the mean's class, a flip's

    def see(self, planes: Tensor) -> None:
        """Take finished logits (C, *block), each voxel once."""
        planes = planes[: self.scheme.num_classes]
        step = max(1, CHUNK_VALUES * planes.shape[1] // max(1, planes.numel()))
        for part in torch.split(planes, step, dim=1):
            logits = part.float()
            pred = self.decode(logits)
            probs = self._probabilities(logits)
            self.total += probs.flatten(1).sum(1, dtype=torch.float64).cpu().numpy()
            counts = torch.bincount(pred.flatten().long(), minlength=len(self.voxels)).cpu().numpy()
            self.voxels += counts
            for index in np.flatnonzero(counts[1:]) + 1:
                found = probs[:, pred == int(index)].sum(1, dtype=torch.float64)
                self.inside[index] += found.cpu().numpy()

    def hear(self, voices: Sequence[Tensor], mean: Tensor) -> None:
        """Take the class indices that flips see in a tile, and those of their mean."""
        count = len(self.votes)
        rows = mean.long() * count
        for voice in voices:
            pairs = torch.bincount((rows + voice.long()).flatten(), minlength=count * count)
            self.votes += pairs.reshape(count, count).cpu().numpy()

    def found(self) -> dict[str, dict[Clue, float]]:
        """Return the clues of every structure that was found."""
        clues: dict[str, dict[Clue, float]] = {}
        first = 0 if self.regions else 1
        for channel, structure in enumerate(self.scheme.structures, start=first):
            chosen = np.array(structure.indices)
            voxels = int(self.voxels[chosen].sum())
            if not voxels:
                continue
            promised = 2 * self.inside[chosen, channel].sum() / (voxels + self.total[channel])
            clues[structure.name] = {"probability": float(promised)}
            agreement = _overlap(self.votes, chosen)
            if agreement is not None:
                clues[structure.name]["flips"] = agreement
        return clues

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Return softmax or sigmoid; an output that is never predicted has no share."""
        if self.regions:
            return logits.sigmoid()
        if self.scheme.has_background:
            return logits.softmax(0)
        return torch.cat((torch.zeros_like(logits[:1]), logits[1:].softmax(0)))


class HeardFlips(nn.Module):
    """A network averaged over flips that tells a counter what each flip saw.

    (The window around it must not mirror again.)

    Parameters
    ----------
    network : nn.Module
    mirror_axes : sequence of int
        Spatial axes to flip, at least one.
    counter : ClueCounter
    """

    def __init__(
        self, network: nn.Module, mirror_axes: Sequence[int], counter: ClueCounter
    ) -> None:
        super().__init__()
        self.network, self.mirror_axes, self.counter = network, tuple(mirror_axes), counter

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        voices: list[Tensor] = []
        mean = predict_mirrored(
            self.network, image, self.mirror_axes, lambda logits: voices.append(self._seen(logits))
        )
        self.counter.hear(voices, self._seen(mean))
        return mean

    def _seen(self, logits: Tensor) -> Tensor:
        """Return the class indices of logits (B, num_classes, *spatial)."""
        return self.counter.decode(logits.movedim(1, 0))


def _overlap(votes: NDArray[np.int64], chosen: NDArray[np.int64]) -> float | None:
    """Return the Dice of flips and mean; None where no flip was heard or none saw anything."""
    either = votes[chosen].sum() + votes[:, chosen].sum()
    return float(2 * votes[np.ix_(chosen, chosen)].sum() / either) if either else None
