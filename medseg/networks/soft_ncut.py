"""Soft normalised cut: how well classes part voxels that are near and look alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor


def soft_ncut(
    probs: Tensor,
    image: Tensor,
    *,
    radius: int,
    intensity_scale: float = 10.0,
    distance_scale: float = 4.0,
) -> Tensor:
    """Return the soft normalised cut of each case [1]_.

    ``K - sum_k (sum_ij w_ij p_k(i) p_k(j)) / (sum_i p_k(i) sum_j w_ij)`` over pairs at most
    ``radius`` voxels apart, with ``w_ij = exp(-|F_i - F_j|^2 / sI^2) exp(-|x_i - x_j|^2 / sX^2)``.

    Parameters
    ----------
    probs : float Tensor of shape (B, K, *spatial)
        After the softmax.
    image : float Tensor of shape (B, C, *spatial)
        Each channel of each case is brought to [0, 255], which the scale is made for.
    radius : int
        In voxels; pairs are neighbours in a ball, itself included.
    intensity_scale, distance_scale : float
        sI (grey values of 255) and sX (voxels).

    Returns
    -------
    float32 Tensor of shape (B,)
        From 0 (a perfect cut) to K - 1 (no class differs from another).

    References
    ----------
    .. [1] Xia and Kulis, W-Net: a deep model for fully unsupervised image segmentation, arXiv
       1711.08506, 2017, equations 2 and 3.
    """
    p, grey = probs.float(), _grey(image.float())
    within = p.square()  # each voxel with itself: weight 1
    together = within.flatten(2).sum(2)  # (B, K)
    degree = torch.ones_like(grey[:, :1])
    for offset in _half_ball(radius, image.ndim - 2):
        here, there = _overlap(offset, image.shape[2:])
        if any(s.start >= s.stop for s in here[2:]):
            continue
        far = sum(n * n for n in offset) / distance_scale**2
        unlike = (grey[here] - grey[there]).square().sum(1, keepdim=True) / intensity_scale**2
        weight = torch.exp(-unlike - far)
        together = together + 2 * (weight * p[here] * p[there]).flatten(2).sum(2)
        degree[here] += weight
        degree[there] += weight
    total = (p * degree).flatten(2).sum(2)
    return probs.shape[1] - (together / total.clamp(min=1e-6)).sum(1)


def _grey(image: Tensor) -> Tensor:
    """Bring each channel of each case to [0, 255]; one that is the same everywhere to 0."""
    flat = image.flatten(2)
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    return (255 * (flat - low) / (high - low).clamp(min=1e-6)).view_as(image)


def _half_ball(radius: int, ndim: int) -> Iterator[tuple[int, ...]]:
    """Yield one of each pair of opposite offsets within the radius, but for zero."""
    for offset in product(range(-radius, radius + 1), repeat=ndim):
        if offset > (0,) * ndim and sum(n * n for n in offset) <= radius**2:
            yield offset


def _overlap(
    offset: tuple[int, ...], sizes: torch.Size
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a tensor and itself moved by ``offset`` overlap: here, and there."""
    here = [slice(max(0, -n), min(s, s - n)) for n, s in zip(offset, sizes, strict=True)]
    there = [slice(max(0, n), min(s, s + n)) for n, s in zip(offset, sizes, strict=True)]
    return (slice(None), slice(None), *here), (slice(None), slice(None), *there)
