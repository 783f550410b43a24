"""Soft Dice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from medseg.losses.base import Activation, Loss


def dice_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    batch: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """Return 1 - (2 I + s) / (P + G + s), averaged over channels and then over images [1]_.

    I, P and G are the sums of p g, p and g over the voxels of one image and channel that count. A
    channel absent from the truth is kept: its ratio s / (P + s) pushes P to 0.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    batch : bool
        Sum I, P and G over the batch (and over all processes of a distributed run) first.
    smooth : float
        s; above and below the line, so that two empty masks agree.

    References
    ----------
    .. [1] Milletari et al., V-Net, 3DV 2016 (there with squares in the denominator); the form
       without squares is Drozdzal et al., DLMIA 2016.

    Examples
    --------
    >>> probs = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    >>> truth = torch.tensor([[[True, False, False, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(dice_loss(probs, truth, truth | True, yes).item(), 4)  # 1 - 2 / 3
    0.3333
    """
    counts = valid & known.reshape(*known.shape, *(1,) * (probs.ndim - 2))
    axes = tuple(range(2, probs.ndim))
    p = probs * counts
    sums = torch.stack(((p * truth).sum(axes), p.sum(axes), (truth & counts).sum(axes)))
    if batch:
        sums, known = _over_batch(sums), _over_batch(known[None].to(sums.dtype))[0] > 0
    overlap, predicted, true = sums
    losses = 1 - (2 * overlap + smooth) / (predicted + true + smooth)
    per_image = (losses * known).sum(1) / known.sum(1).clamp(min=1)
    some = known.any(1)
    mean: Tensor = (per_image * some).sum() / some.sum().clamp(min=1)
    return mean


def _over_batch(sums: Tensor) -> Tensor:
    """Sum (n, B, C) over the batch, here and in the other processes, to (n, 1, C)."""
    total = sums.sum(1, keepdim=True)
    if distributed.is_available() and distributed.is_initialized() and torch.is_grad_enabled():
        reduced: Tensor = _AllSum.apply(total)  # type: ignore[no-untyped-call]
        return reduced
    return total


class _AllSum(torch.autograd.Function):
    """Sum over all processes, forwards and backwards."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        """Sum the value."""
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        """Sum the gradient: each process's loss depends on every process's value."""
        total = grad.clone()
        distributed.all_reduce(total)
        return total


class DiceLoss(Loss):
    """`dice_loss` of the softmax or sigmoid of the logits.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    batch : bool
        One Dice over the whole batch instead of one per image.
    include_background : bool
        Count channel 0 of a softmax; there is no background among regions.
    smooth : float
        See `dice_loss`.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(activation, regions)
        self.batch = batch
        self.first = 0 if include_background or activation == "sigmoid" else 1
        self.smooth = smooth

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"dice": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            scores, truth, valid, known = self.prepare(logits, label, annotated)
            probs = scores.softmax(1) if self.activation == "softmax" else scores.sigmoid()
            kept = slice(self.first, None)
            valid = valid[:, kept] if valid.shape[1] > 1 else valid
            value = dice_loss(
                probs[:, kept],
                truth[:, kept],
                valid,
                known[:, kept],
                batch=self.batch,
                smooth=self.smooth,
            )
            return {"dice": value}
