"""Canny's edges of an image, in 2-D and 3-D, in torch."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

_MAX_POOL = {4: functional.max_pool2d, 5: functional.max_pool3d}  # by tensor axes


def canny(image: Tensor, *, low: float = 0.1, high: float = 0.2, reach: int = 10) -> Tensor:
    """Return where an image has an edge [1]_: thin ridges of the gradient, strong or linked to one.

    Parameters
    ----------
    image : float Tensor of shape (B, C, *spatial)
        Its channels are averaged, and smoothed by (1, 2, 1) / 4 along each axis.
    low, high : float
        Shares of the steepest gradient of each image: an edge begins at ``high`` and goes on as
        far as the ridge is above ``low``.
    reach : int
        For at most so many voxels; a fixed number, so that the network can be exported.

    Returns
    -------
    float32 Tensor of shape (B, 1, *spatial)
        1 on an edge, else 0; 0 everywhere in an image that is the same everywhere.

    References
    ----------
    .. [1] Canny, A computational approach to edge detection, TPAMI 8(6), 1986.

    Examples
    --------
    >>> ramp = torch.tensor([0.0, 0.0, 0.0, 1.0, 3.0, 4.0, 4.0, 4.0])
    >>> canny(ramp.expand(1, 1, 4, 8))[0, 0, 0].tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    x = image.float().mean(1, keepdim=True)
    axes = range(2, x.ndim)
    for axis in axes:
        before, after = _neighbours(x, axis)
        x = (before + 2 * x + after) / 4
    slopes = torch.cat([after - before for before, after in (_neighbours(x, a) for a in axes)], 1)
    length = slopes.square().sum(1, keepdim=True).sqrt()
    steepest = length.flatten(1).amax(1).view(-1, *(1,) * (x.ndim - 1))
    ridge = _ridges(slopes, length) & (steepest > 1e-6)
    weak, edges = ridge & (length >= low * steepest), (ridge & (length >= high * steepest)).float()
    for _ in range(reach):
        edges = _MAX_POOL[x.ndim](edges, 3, 1, 1) * weak
    return edges


def _neighbours(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return what stands before and behind each voxel along an axis; the border is repeated."""
    rest = x.shape[axis] - 1
    before = torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, rest)), axis)
    return before, torch.cat((x.narrow(axis, 1, rest), x.narrow(axis, rest, 1)), axis)


def _ridges(slopes: Tensor, length: Tensor) -> Tensor:
    """Return where the gradient is longest along its own direction, one of the 3^d - 1 around."""
    ndim = slopes.shape[1]
    steps = (slopes / slopes.abs().amax(1, keepdim=True).clamp(min=1e-12)).round()
    padded = functional.pad(length, (1, 1) * ndim)
    ridge = torch.zeros_like(length, dtype=torch.bool)
    for offset in product((-1, 0, 1), repeat=ndim):
        if not any(offset):
            continue
        along = steps.new_tensor(offset).view(1, ndim, *(1,) * ndim)
        here = (steps == along).all(1, keepdim=True)
        uphill, downhill = _shifted(padded, offset), _shifted(padded, tuple(-n for n in offset))
        # of two equally steep voxels side by side, the one lower on the slope
        ridge = ridge | (here & (length >= uphill) & (length > downhill))
    return ridge


def _shifted(padded: Tensor, offset: tuple[int, ...]) -> Tensor:
    """Return, of a tensor padded by one voxel, the neighbour of each voxel at ``offset``."""
    for axis, n in enumerate(offset, start=2):
        padded = padded.narrow(axis, 1 + n, padded.shape[axis] - 2)
    return padded
