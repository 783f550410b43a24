"""What the region losses share: sums over the voxels that count, and their mean over classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, distributed

from medseg.registry import lookup

Absent = Literal["keep", "skip", "zero"]
Reduction = Literal["mean", "none"]

STEEP = 1e-7
"""Below it `safe_power` is a straight line through 0, so that its slope stays finite."""


class RegionSums(NamedTuple):
    """Sums over the voxels that count, per image and channel, (B, C) or (1, C) over a batch."""

    overlap: Tensor
    """I, the sum of p g."""
    predicted: Tensor
    """P, the sum of p."""
    true: Tensor
    """G, the sum of g."""
    known: Tensor
    """Whether the image and channel take part in the mean (bool)."""

    @property
    def fp(self) -> Tensor:
        """False positives, P - I."""
        return self.predicted - self.overlap

    @property
    def fn(self) -> Tensor:
        """False negatives, G - I."""
        return self.true - self.overlap


def counted(valid: Tensor, known: Tensor) -> Tensor:
    """Return where a voxel of a channel counts: bool (B, C, *spatial).

    Parameters
    ----------
    valid : bool Tensor of shape (B, 1 or C, *spatial)
    known : bool Tensor of shape (B, C)
    """
    return valid & known.reshape(*known.shape, *(1,) * (valid.ndim - 2))


def sum_voxels(
    terms: Sequence[Tensor], known: Tensor, *, batch: bool = False
) -> tuple[Tensor, Tensor]:
    """Sum each (B, C, *spatial) over its voxels, and over the batch of all processes if asked.

    Returns
    -------
    (float Tensor (n, B, C), bool Tensor (B, C)); with ``batch`` (n, 1, C) and (1, C)
        The sums of the n terms, and ``known``.
    """
    axes = tuple(range(2, terms[0].ndim))
    dtype = next(term.dtype for term in terms if term.is_floating_point())
    sums = torch.stack([term.sum(axes).to(dtype) for term in terms])
    if batch:
        return _over_batch(sums), _over_batch(known[None].to(dtype))[0] > 0
    return sums, known


def region_sums(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    batch: bool = False,
    square: bool = False,
) -> RegionSums:
    """Return I, P and G per image and channel.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
    truth : bool or float Tensor of shape (B, C, *spatial)
        The target, hard or soft.
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part; the sums of the others are 0.
    batch : bool
        Sum over the batch (and over all processes of a distributed run): (1, C).
    square : bool
        Take the sums of p^2 and g^2 for P and G.
    """
    counts = counted(valid, known)
    p, g = probs * counts, truth * counts
    predicted, true = (p * p, g * g) if square else (p, g)
    sums, known = sum_voxels((p * g, predicted, true), known, batch=batch)
    return RegionSums(sums[0], sums[1], sums[2], known)


def class_mean(
    losses: Tensor,
    sums: RegionSums,
    *,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Average over the channels that count, and then over the images that have any.

    Parameters
    ----------
    losses : float Tensor of shape (B, C)
    sums : RegionSums
        Tells which channels are known, and which are absent from the truth (G = 0).
    absent : {"keep", "skip", "zero"}
        An absent channel counts as it is, is left out of the mean, or counts as 0.
    class_weights : float Tensor of shape (C,), optional
        Weights of the mean over channels.
    reduction : {"mean", "none"}
        A scalar, or the losses (B, C), 0 where they do not count.
    """
    lookup(dict.fromkeys(get_args(Absent)), absent, "way with absent classes ('absent')")
    lookup(dict.fromkeys(get_args(Reduction)), reduction, "reduction")
    known = sums.known
    if absent != "keep":
        present = sums.true > 0
        losses = torch.where(present, losses, losses.new_zeros(()))
        known = known & present if absent == "skip" else known
    losses = losses * known
    if reduction == "none":
        return losses
    weights = known.to(losses.dtype)
    if class_weights is not None:
        weights = weights * class_weights.to(losses)
    total = weights.sum(1)
    per_image = (losses * weights).sum(1) / torch.where(total > 0, total, torch.ones_like(total))
    some = known.any(1)
    mean: Tensor = (per_image * some).sum() / some.sum().clamp(min=1)
    return mean


def safe_power(value: Tensor, exponent: float) -> Tensor:
    """Return value^exponent for value >= 0, with a finite slope at 0 for exponents below 1.

    Such powers are infinitely steep at 0, which makes NaN of the gradient of a perfect prediction.
    Below `STEEP` the power gives way to the straight line through 0.

    Examples
    --------
    >>> value = torch.tensor([0.0, 0.25, 1.0], requires_grad=True)
    >>> safe_power(value, 0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    value = value.clamp(min=0)
    if exponent >= 1:
        return value**exponent
    steep = value < STEEP
    return torch.where(steep, value * STEEP ** (exponent - 1), value.clamp(min=STEEP) ** exponent)


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
