"""The contract of every loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.losses.target import merge_unannotated, one_hot, region_target, softmax_target

Activation = Literal["softmax", "sigmoid"]


class Loss(nn.Module):
    """A loss takes logits and class indices, and applies the activation itself, in float32.

    Parameters
    ----------
    activation : {"softmax", "sigmoid"}
        ``softmax``: channel c is class index c. ``sigmoid``: channel r is region r.
    regions : sequence of sequences of int
        For ``sigmoid``: the class indices that each channel unites.

    Attributes
    ----------
    takes_spacing : bool
        Whether the constructor takes ``spacing`` (mm, array axis order; None: 1 per voxel) and
        keeps it as ``self.spacing``: `build_loss` hands the plan's to such a loss, and `supervise`
        widens it at coarser scales.
    """

    takes_spacing: ClassVar[bool] = False
    spacing: Sequence[float] | None = None

    def __init__(self, activation: Activation, regions: Sequence[Sequence[int]] = ()) -> None:
        super().__init__()
        if activation == "sigmoid" and not regions:
            raise ConfigError("a sigmoid loss needs 'regions': the class indices of each channel")
        self.activation = activation
        self.regions = tuple(tuple(region) for region in regions)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the named scalars whose weighted sum is the loss; see `forward`."""
        raise NotImplementedError

    def weight_of(self, term: str) -> float:
        """Return the weight of a term in the sum."""
        del term
        return 1.0

    def set_progress(self, progress: float) -> None:
        """Take the share of the training budget that is used up, in [0, 1]; before every step.

        What a loss makes of it must depend on this number alone, so that a training that was
        killed and goes on from its checkpoint sees the same loss as one that was not.
        """

    def forward(self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None) -> Tensor:
        """Return a scalar.

        Parameters
        ----------
        logits : float Tensor of shape (B, C, *spatial)
            Raw scores of any precision.
        label : integer Tensor of shape (B, *spatial)
            Class indices in [0, K], or `medseg.labels.IGNORE_INDEX`.
        annotated : bool Tensor of shape (B, K + 1), optional
            Whether the annotation of a case covers a class index. None: all.
        """
        return self.sum_terms(self.terms(logits, label, annotated=annotated))

    def sum_terms(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of `terms`."""
        return torch.stack([self.weight_of(name) * term for name, term in terms.items()]).sum()

    def prepare(
        self, logits: Tensor, label: Tensor, annotated: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return float32 logits, the one-hot target, where it counts, and which channels do.

        float64 logits stay so.

        Returns
        -------
        logits : float32 or float64 Tensor of shape (B, C, *spatial)
            With unannotated classes merged into the background, for ``softmax``.
        truth : bool Tensor of shape (B, C, *spatial)
        valid : bool Tensor of shape (B, 1 or C, *spatial)
        known : bool Tensor of shape (B, C)
            False for a channel that a case's annotation says nothing of.
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.activation == "sigmoid":
            truth, valid = region_target(label, self.regions, annotated)
            return logits, truth, valid, valid.flatten(2).any(2)
        index, mask = softmax_target(label)
        truth, valid = one_hot(index, logits.shape[1]), mask.unsqueeze(1)
        known = truth.new_ones(logits.shape[:2]) if annotated is None else annotated
        known = known & mask.flatten(1).any(1, keepdim=True)
        return merge_unannotated(logits, annotated), truth, valid, known
