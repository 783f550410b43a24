"""Cross entropy over classes, and binary cross entropy over regions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medseg.labels import IGNORE_INDEX
from medseg.losses.base import Loss
from medseg.losses.target import merge_unannotated, region_target


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean of -log p(true class) over the voxels that count.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    label : integer Tensor of shape (B, *spatial)
        Class indices, or `IGNORE_INDEX`. Without any voxel that counts the loss is 0.

    Examples
    --------
    >>> cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, -1]])).item()
    0.6931471824645996
    """
    total = functional.cross_entropy(
        logits, label.long(), ignore_index=IGNORE_INDEX, reduction="sum"
    )
    return total / (label != IGNORE_INDEX).sum().clamp(min=1)


def binary_cross_entropy(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of the binary cross entropy over the voxels and channels that count.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts. Where nothing counts the loss is 0.
    """
    each = functional.binary_cross_entropy_with_logits(
        logits, truth.to(logits.dtype), reduction="none"
    )
    return (each * valid).sum() / valid.sum().clamp(min=1)


class CrossEntropyLoss(Loss):
    """`cross_entropy` for classes, `binary_cross_entropy` for regions."""

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"ce": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            if self.activation == "sigmoid":
                truth, valid = region_target(label, self.regions, annotated)
                return {"ce": binary_cross_entropy(logits, truth, valid)}
            return {"ce": cross_entropy(merge_unannotated(logits, annotated), label)}
