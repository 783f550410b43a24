"""Spatial transforms: image (n, C, *spatial) and label (n, *spatial) move together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

THIN = 3.0
"""A patch axis this many times shorter than the longest is neither rotated out of nor scaled."""


def turning_axes(patch_size: Sequence[int]) -> tuple[int, ...]:
    """Return the axes along which a patch is thick enough to be rotated and scaled.

    Examples
    --------
    >>> turning_axes((40, 56, 40)), turning_axes((160, 160, 16)), turning_axes((1, 64, 64))
    ((0, 1, 2), (0, 1), (1, 2))
    """
    return tuple(a for a, n in enumerate(patch_size) if n * THIN >= max(patch_size))


def rotation_planes(patch_size: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of axes in which a patch may be rotated."""
    return tuple(itertools.combinations(turning_axes(patch_size), 2))


def affine_matrices(angles: Tensor, scale: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Return the matrices that take an output offset from the patch centre to its source, in mm.

    Parameters
    ----------
    angles : float Tensor of shape (n, planes)
        Radians, one per plane of `rotation_planes`; positive turns the first axis towards the
        second.
    scale : float Tensor of shape (n,)
        How much larger things become.
    patch_size : sequence of int
        Says which axes turn.

    Returns
    -------
    float64 Tensor of shape (n, ndim, ndim)
        The inverse of "rotate, then scale", on the axes of `turning_axes`; identity on the others.
    """
    ndim = len(patch_size)
    matrix = torch.eye(ndim, dtype=torch.float64).repeat(len(angles), 1, 1)
    for column, (a, b) in enumerate(rotation_planes(patch_size)):
        cos, sin = angles[:, column].double().cos(), angles[:, column].double().sin()
        turn = torch.eye(ndim, dtype=torch.float64).repeat(len(angles), 1, 1)
        turn[:, a, a], turn[:, a, b] = cos, sin  # the inverse (transposed) rotation
        turn[:, b, a], turn[:, b, b] = -sin, cos
        matrix = matrix @ turn
    for axis in turning_axes(patch_size):
        matrix[:, axis] /= scale.double()[:, None]
    return matrix


def apply_affine(
    image: Tensor, label: Tensor, matrices: Tensor, spacing: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Resample about the patch centre: linear for the image, nearest for the label.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
        Beyond its border the outermost voxels are repeated.
    label : integer Tensor of shape (n, *spatial)
        Beyond its border it becomes `medseg.labels.IGNORE_INDEX`.
    matrices : float64 Tensor of shape (n, ndim, ndim)
        Output offset to source offset, in mm and array axis order.
    spacing : sequence of float
        mm per voxel of each axis.
    """
    size = image.shape[2:]
    half = torch.tensor(
        [n * s / 2 for n, s in zip(size, spacing, strict=True)], dtype=torch.float64
    )
    unit = matrices * half / half[:, None]  # from and to coordinates in [-1, 1]
    theta = functional.pad(unit.flip(1, 2), (0, 1))  # grid_sample wants the last axis first
    grid = functional.affine_grid(theta.to(image), [len(image), 1, *size], align_corners=False)
    moved = functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    # Padding with zeros one above IGNORE_INDEX makes what comes from outside IGNORE_INDEX.
    shifted = (label + 1).to(image.dtype).unsqueeze(1)
    turned = functional.grid_sample(
        shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved, turned.squeeze(1).round().to(label.dtype) - 1


def flip(image: Tensor, label: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mirror along a spatial axis."""
    return image.flip(axis + 2), label.flip(axis + 1)
