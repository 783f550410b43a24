"""Conditional random field by mean field: probabilities that follow the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from medseg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CRF:
    """Weights and scales of both kernels of the dense CRF [1]_.

    Attributes
    ----------
    iterations : int
        Of the mean field.
    appearance_weight, appearance_scale, intensity_scale : float
        Of the kernel that wants voxels near and alike to be of one class: its weight, its reach in
        mm (``theta_alpha``), and how much intensities may differ (``theta_beta``), in the image's
        unit.
    smoothness_weight, smoothness_scale : float
        Of the kernel that asks for nearness alone: weight, and reach in mm (``theta_gamma``).
    radius : int
        Voxels along each axis within which pairs count. [1]_ counts all pairs by a permutohedral
        lattice; here the kernels are exact within this window and nothing beyond it [2]_, so that
        a window as large as the image gives the exact dense CRF.

    References
    ----------
    .. [1] Kraehenbuehl and Koltun, Efficient inference in fully connected CRFs with Gaussian edge
       potentials, NeurIPS 2011, equations 2 and 3, algorithm 1.
    .. [2] Teichmann and Cipolla, Convolutional CRFs for semantic segmentation, BMVC 2019.
    """

    iterations: int = 5
    appearance_weight: float = 4.0
    appearance_scale: float = 3.0
    intensity_scale: float = 0.5
    smoothness_weight: float = 1.0
    smoothness_scale: float = 1.0
    radius: int = 3

    def __post_init__(self) -> None:
        for name in ("appearance_scale", "intensity_scale", "smoothness_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"crf.{name} is {getattr(self, name)}; give a number above 0")
        for name in ("appearance_weight", "smoothness_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"crf.{name} is {getattr(self, name)}; give a number from 0 on")
        for name in ("iterations", "radius"):
            if getattr(self, name) < 1:
                raise ConfigError(f"crf.{name} is {getattr(self, name)}; give a number from 1 on")


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
