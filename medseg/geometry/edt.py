"""Exact Euclidean distance transform: batched, anisotropic, on the device of its mask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import edt
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.geometry.edt_whole import squares_fit, whole_squares

CHECK_EVERY = 8
"""Shifts between two looks at whether a later shift can still win."""

DENSE_ELEMENTS = 2**26
"""Elements of the largest intermediate of the form for accelerators: 256 MiB of float32."""


def edt_squared(
    mask: Tensor,
    spacing: Sequence[float],
    *,
    undefined: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the squared distance from each true voxel to the nearest false one, 0 if false.

    Distances run between voxel centres. On the CPU in float32, `whole_squares` or the ``edt``
    library does the work. Elsewhere, and in float64, separable minima in torch do [1]_ [2]_,
    without a copy from an accelerator to the host.

    Parameters
    ----------
    mask : bool Tensor of shape (..., *spatial)
        Each item of the leading axes is a mask of its own.
    spacing : sequence of 1 to 3 floats
        Voxel size in mm, one per spatial axis; its length says which axes are spatial.
    undefined : float
        Value in a mask that is true everywhere, where there is no nearest false voxel: 0 as the
        losses want it, or ``math.inf``.
    dtype : torch.dtype
        float32 or float64. In float32, whole squares are exact up to 2**24.

    Returns
    -------
    Tensor of shape (..., *spatial)
        In mm².

    Raises
    ------
    ValueError
        If there are not 1 to 3 positive spacings, or the mask has fewer axes.

    References
    ----------
    .. [1] Saito and Toriwaki, New algorithms for Euclidean distance transformation, Pattern
       Recognition 27, 1994.
    .. [2] Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, Theory of
       Computing 8, 2012, eq. 1 to 3: one minimum over parabolas per axis.

    Examples
    --------
    >>> edt_squared(torch.tensor([False, True, True, True]), spacing=(0.5,)).tolist()
    [0.0, 0.25, 1.0, 2.25]
    """
    _check(mask, spacing)
    if mask.device.type == "cpu" and dtype == torch.float32:
        return _on_cpu(mask, spacing, undefined, both_sides=False)
    return _separable(mask, spacing, undefined, dtype)


def opposite_squared(
    mask: Tensor,
    spacing: Sequence[float],
    *,
    undefined: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the squared distance from each voxel to the nearest voxel of the opposite value.

    The sum of `edt_squared` of the mask and of its complement, at about the price of one. A mask of
    one value only, true or false, gives ``undefined``.

    Parameters
    ----------
    mask, spacing, undefined, dtype
        See `edt_squared`.

    Returns
    -------
    Tensor of shape (..., *spatial)
        In mm².

    Examples
    --------
    >>> opposite_squared(torch.tensor([False, False, True, True, True]), spacing=(1.0,)).tolist()
    [4.0, 1.0, 1.0, 4.0, 9.0]
    """
    _check(mask, spacing)
    if mask.device.type == "cpu" and dtype == torch.float32:
        return _on_cpu(mask, spacing, undefined, both_sides=True)
    sides = torch.stack((mask, ~mask))
    inside, outside = _separable(sides, spacing, undefined, dtype)
    return inside.where(mask, outside) if undefined == 0 else torch.maximum(inside, outside)


def two_sided(
    mask: Tensor,
    spacing: Sequence[float],
    *,
    undefined: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Return how far each voxel inside is from the outside, and each outside from the inside.

    Parameters
    ----------
    mask, spacing, undefined, dtype
        See `edt_squared`; a mask of one value only gives ``undefined`` on the side it has.

    Returns
    -------
    inside, outside : Tensor of shape (..., *spatial)
        In mm, not squared; each is 0 on the other side.

    Examples
    --------
    >>> inside, outside = two_sided(torch.tensor([False, False, True]), spacing=(2.0,))
    >>> inside.tolist(), outside.tolist()
    ([0.0, 0.0, 2.0], [4.0, 2.0, 0.0])
    """
    distance = opposite_squared(mask, spacing, undefined=undefined, dtype=dtype).sqrt_()
    return distance.masked_fill(~mask, 0), distance.masked_fill(mask, 0)


def signed_distance(
    mask: Tensor, spacing: Sequence[float], *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the distance to the nearest voxel of the opposite value, negative inside the mask.

    At unit spacing it is -1 and 1 on the two sides of a face. A mask of one value only gives 0.

    Parameters
    ----------
    mask, spacing, dtype
        See `edt_squared`.

    Returns
    -------
    Tensor of shape (..., *spatial)
        In mm.

    Examples
    --------
    >>> signed_distance(torch.tensor([False, False, True]), spacing=(2.0,)).tolist()
    [4.0, 2.0, -2.0]
    """
    distance = opposite_squared(mask, spacing, dtype=dtype).sqrt_()
    return torch.where(mask, -distance, distance)


def _check(mask: Tensor, spacing: Sequence[float]) -> None:
    """Raise unless the mask is one, with as many axes as there are spacings."""
    if mask.dtype != torch.bool:
        raise ValueError(f"a distance transform takes a bool mask, not {mask.dtype}; threshold it")
    if not 1 <= len(spacing) <= 3 or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing {tuple(spacing)}: give 1 to 3 positive sizes in mm")
    if mask.ndim < len(spacing):
        raise ValueError(f"a mask of shape {tuple(mask.shape)} has no {len(spacing)} spatial axes")


def _on_cpu(
    mask: Tensor, spacing: Sequence[float], undefined: float, *, both_sides: bool
) -> Tensor:
    """Take mask by mask the faster way: 16 bit numbers where they serve, else the library."""
    spatial = mask.shape[mask.ndim - len(spacing) :]
    masks = mask.detach().reshape(-1, *spatial).contiguous().numpy()
    result = np.zeros(masks.shape, dtype=np.float32)
    whole = len(spacing) == 3 and len(set(spacing)) == 1 and squares_fit(spatial)
    for one, out in zip(masks, result, strict=True):
        if one.all() or (both_sides and not one.any()):
            out[...] = undefined
        elif one.any() and whole:
            squares = whole_squares(one, both_sides=both_sides)
            np.multiply(squares, np.float32(spacing[0] ** 2), out=out)
        elif one.any():
            out[...] = _library(one, spacing, both_sides=both_sides)
    return torch.from_numpy(result).reshape(mask.shape)


def _library(
    mask: NDArray[np.bool_], spacing: Sequence[float], *, both_sides: bool
) -> NDArray[np.float32]:
    """Run the ``edt`` library; its multi-label mode serves both sides in one pass."""
    size = spacing[0] if len(spacing) == 1 else tuple(spacing)
    labels = mask.view(np.uint8) + np.uint8(both_sides)
    found: NDArray[np.float32] = edt.edtsq(
        labels, anisotropy=size, parallel=torch.get_num_threads()
    )
    return found


def _separable(
    mask: Tensor, spacing: Sequence[float], undefined: float, dtype: torch.dtype
) -> Tensor:
    """Run one minimum per axis: nearest false voxel on the last, parabolas on the others."""
    axes = tuple(range(-len(spacing), 0))
    full = mask.all(-1, keepdim=True)
    for axis in axes[:-1]:
        full = full.all(axis, keepdim=True)
    field = _along_last(mask & ~full, spacing[-1], dtype)
    along = _shifts if mask.device.type == "cpu" else _dense
    for axis, size in zip(axes[:-1], spacing[:-1], strict=True):
        field = along(field.movedim(axis, -1), size).movedim(-1, axis)
    return field.masked_fill(full, undefined)


def _along_last(mask: Tensor, size: float, dtype: torch.dtype) -> Tensor:
    """Return the squared distance to the nearest false voxel of each line; inf without one."""
    index = torch.arange(mask.shape[-1], device=mask.device, dtype=dtype)
    left = index - torch.where(mask, -math.inf, index).cummax(-1).values
    right = torch.where(mask, math.inf, index).flip(-1).cummin(-1).values.flip(-1) - index
    return (torch.minimum(left, right) * size).square()


def _shifts(field: Tensor, size: float) -> Tensor:
    """Return min over k of f(x ± k) + (size k)² along the last axis.

    A shift by k adds (size k)² at least, so it cannot win once that reaches the largest value so
    far: the stop is exact. Looking costs a number on the host, so accelerators use `_dense`.
    """
    best = field.clone()
    for k in range(1, field.shape[-1]):
        cost = (size * k) ** 2
        if k % CHECK_EVERY == 1 and cost >= best.max().item():
            break
        torch.minimum(best[..., k:], field[..., :-k] + cost, out=best[..., k:])
        torch.minimum(best[..., :-k], field[..., k:] + cost, out=best[..., :-k])
    return best


def _dense(field: Tensor, size: float) -> Tensor:
    """Return what `_shifts` does, from all pairs of a line at once; nothing visits the host."""
    n = field.shape[-1]
    index = torch.arange(n, device=field.device, dtype=field.dtype)
    cost = ((index[:, None] - index) * size).square()
    lines = field.reshape(-1, n)
    count = max(1, DENSE_ELEMENTS // n**2)
    best = [(some_lines[:, None] + cost).amin(-1) for some_lines in torch.split(lines, count)]
    return torch.cat(best).reshape(field.shape)
