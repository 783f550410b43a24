"""Smooth random fields: cubic B-splines over a coarse lattice of control values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def spline_field(control: Tensor, size: Sequence[int]) -> Tensor:
    """Evaluate a uniform cubic B-spline on every voxel.

    Parameters
    ----------
    control : float Tensor of shape (*lead, *lattice)
        Control values; ``lattice`` from `lattice_size`.
    size : sequence of int
        Voxels along each axis.

    Returns
    -------
    float Tensor of shape (*lead, *size)
        Nowhere beyond the largest control value, and with two continuous derivatives.

    References
    ----------
    .. [1] Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 18(8),
       1999, equation 1.
    """
    lead = control.ndim - len(size)
    for axis, n in enumerate(size, start=lead):
        weights = _weights(n, control.shape[axis]).to(control)  # (n, lattice)
        control = torch.tensordot(control, weights, dims=([axis], [1])).movedim(-1, axis)
    return control.contiguous()


def lattice_size(size: Sequence[int], cells: Sequence[float]) -> tuple[int, ...]:
    """Return how many control points cover ``size`` voxels where a cell is ``cells`` voxels wide.

    Examples
    --------
    >>> lattice_size((40, 10), (10.0, 10.0))
    (7, 4)
    """
    return tuple(math.ceil(n / c) + 3 for n, c in zip(size, cells, strict=True))


def _weights(n: int, points: int) -> Tensor:
    """Return the weight of each control point at each voxel centre, (n, points); rows sum to 1."""
    place = (torch.arange(n, dtype=torch.float64) + 0.5) / n * (points - 3) + 1  # in (1, points-2)
    far = (place[:, None] - torch.arange(points)).abs()
    near = 2 / 3 - far**2 + far**3 / 2
    tail = (2 - far).clamp(min=0) ** 3 / 6
    return torch.where(far < 1, near, tail)
