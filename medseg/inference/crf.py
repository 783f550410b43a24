"""Conditional random field by mean field: probabilities that follow the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from medseg.errors import CaseError
from medseg.inference.multiscale import LEAST
from medseg.settings import CRF

MOST_WORK = 1e11
"""Products of a voxel, a neighbour, a class and an iteration beyond which an image is too large; a
volume of 256^3 voxels takes 0.9e11 with 3 classes, 5 iterations and a radius of 3."""


def refine_logits(
    logits: Tensor, image: Tensor, spacing: Sequence[float], crf: CRF, *, regions: bool
) -> Tensor:
    """Refine the logits of one case; regions, which overlap, each against its own background.

    Parameters
    ----------
    logits : float Tensor of shape (num_classes, *spatial)
    image, spacing, crf
        As for `refine`; the image may be on another device.
    regions : bool
        Sigmoid in place of softmax.

    Returns
    -------
    float32 Tensor of shape (num_classes, *spatial)
        Values whose softmax (sigmoid) are the refined probabilities.
    """
    image = image.to(logits.device)
    if not regions:
        refined = refine(logits.float().softmax(0), image, spacing, crf)
        return refined.clamp_(LEAST, 1 - LEAST).log_()
    probs = logits.float().sigmoid()
    for channel in probs:
        channel.copy_(refine(torch.stack((1 - channel, channel)), image, spacing, crf)[1])
    return probs.clamp_(LEAST, 1 - LEAST).logit_()


def check_affordable(
    case: str, sizes: Sequence[int], classes: int, channels: int, crf: CRF, allowed: int
) -> None:
    """Refuse an image that is too large for the field.

    Parameters
    ----------
    case : str
        Id, for the message.
    sizes : sequence of int
        Voxels per axis.
    classes, channels : int
        Of the logits and of the image.
    crf : CRF
    allowed : int
        Bytes that may still be used.

    Raises
    ------
    CaseError
        If memory or work is more than that, or than `MOST_WORK`.
    """
    voxels = math.prod(sizes)
    needed = 4 * voxels * (8 * classes + 2 * channels + 6)  # counted in `refine` at its peak
    work = voxels * (2 * crf.radius + 1) ** len(sizes) * classes * crf.iterations
    size = " x ".join(str(n) for n in sizes)
    remedy = "set infer.crf to null, or resample.spacing coarser"
    if needed > allowed:
        raise CaseError(
            case,
            f"the CRF of {size} voxels takes {needed / 1e9:.2f} GB, and {allowed / 1e9:.2f} GB "
            "may be used",
            f"{remedy}; infer.memory (--memory of predict) raises the limit",
        )
    if work > MOST_WORK:
        raise CaseError(
            case,
            f"the CRF of {size} voxels within a radius of {crf.radius} takes {work:.1e} products, "
            f"and {MOST_WORK:.0e} are the most",
            f"{remedy}, or infer.crf.radius smaller",
        )


def refine(
    probs: Tensor, image: Tensor, spacing: Sequence[float], crf: CRF | None = None
) -> Tensor:
    """Refine the probabilities of one case by mean field in a fully connected CRF [1]_.

    Labels that differ cost the sum of the kernels between two voxels (Potts). The kernels are
    divided by the root of the sum over each voxel's neighbours (symmetric normalisation, as in the
    authors' code), so that weights mean the same at the border and for every radius. Memory
    is a few maps of the probabilities; time grows with the window's voxels.

    Parameters
    ----------
    probs : float Tensor of shape (K, *spatial)
        After the softmax.
    image : float Tensor of shape (C, *spatial)
    spacing : sequence of float
        In mm, one per spatial axis.
    crf : CRF, optional
        The defaults suit an image of standard deviation 1.

    Returns
    -------
    float32 Tensor of shape (K, *spatial)
        Sums to 1 over the classes.

    Raises
    ------
    ValueError
        If the grids differ, or the spacing has another number of axes.

    References
    ----------
    .. [1] Kraehenbuehl and Koltun, Efficient inference in fully connected CRFs with Gaussian edge
       potentials, NeurIPS 2011.
    """
    if probs.shape[1:] != image.shape[1:] or len(spacing) != image.ndim - 1:
        raise ValueError(
            f"probs {tuple(probs.shape)}, image {tuple(image.shape)} and spacing {tuple(spacing)} "
            "must be of one grid"
        )
    how = crf or CRF()
    unary = probs.float().clamp(min=1e-8).log()
    scale = [_norm(image.float(), spacing, how, kernel) for kernel in (0, 1)]
    belief = probs.float()
    for _ in range(how.iterations):
        message = torch.zeros_like(belief)
        for kernel, weight in enumerate((how.appearance_weight, how.smoothness_weight)):
            if weight > 0:
                given = belief * scale[kernel]
                heard = _gather(given, image.float(), spacing, how, kernel) * scale[kernel]
                message += weight * heard
        belief = (unary + message).softmax(0)
    return belief


def _norm(image: Tensor, spacing: Sequence[float], how: CRF, kernel: int) -> Tensor:
    """Return one over the root of the sum of a kernel (1, *spatial)."""
    total = _gather(torch.ones_like(image[:1]), image, spacing, how, kernel)
    return (total + 1e-20).rsqrt()


def _gather(x: Tensor, image: Tensor, spacing: Sequence[float], how: CRF, kernel: int) -> Tensor:
    """Sum ``x`` (K, *spatial) over each voxel's neighbours, weighed by a kernel; not itself."""
    total = torch.zeros_like(x)
    reach = how.smoothness_scale if kernel else how.appearance_scale
    for here, there, square in _pairs(how.radius, image.shape[1:], spacing):
        exponent = torch.as_tensor(-square / (2 * reach**2), device=x.device)
        if kernel == 0:
            unlike = (image[here] - image[there]).square().sum(0, keepdim=True)
            exponent = exponent - unlike / (2 * how.intensity_scale**2)
        weight = exponent.exp()
        total[here] += weight * x[there]
        total[there] += weight * x[here]
    return total


def _pairs(
    radius: int, sizes: Sequence[int], spacing: Sequence[float]
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], float]]:
    """Yield each offset of half a window: where a map and itself moved overlap, and mm squared."""
    ndim = len(sizes)
    for offset in product(range(-radius, radius + 1), repeat=ndim):
        if offset <= (0,) * ndim or any(abs(n) >= s for n, s in zip(offset, sizes, strict=True)):
            continue
        here = [slice(max(0, -n), min(s, s - n)) for n, s in zip(offset, sizes, strict=True)]
        there = [slice(max(0, n), min(s, s + n)) for n, s in zip(offset, sizes, strict=True)]
        square = sum((n * mm) ** 2 for n, mm in zip(offset, spacing, strict=True))
        yield (slice(None), *here), (slice(None), *there), square
