"""Spatial transforms: image (n, C, *spatial) and label (n, *spatial) move together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.transforms.sampling import Coordinates, resample, resample_axes, vote
from medseg.transforms.settings import LabelMode

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


def rotation_limit(patch_size: Sequence[int]) -> float:
    """Return nnU-Net's largest angle in degrees [1]_.

    30 for thick volumes, 180 in the plane of thin ones (its "dummy 2D" augmentation); for 2-D
    patches 180, or 15 where one side is more than 1.5 times the other.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021, supplementary note on augmentation.

    Examples
    --------
    >>> [rotation_limit(size) for size in ((128, 128, 128), (16, 256, 256), (512, 512), (512, 256))]
    [30.0, 180.0, 180.0, 15.0]
    """
    sides = [n for n in patch_size if n > 1]  # without the axis of a slice-wise network
    if len(sides) < 3:
        return 15.0 if max(sides, default=1) > 1.5 * min(sides, default=1) else 180.0
    return 30.0 if len(turning_axes(patch_size)) == 3 else 180.0


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
    image: Tensor,
    label: Tensor,
    matrices: Tensor,
    spacing: Sequence[float],
    *,
    size: Sequence[int] | None = None,
    shift: Tensor | None = None,
    bend: Sequence[Tensor | None] | None = None,
    labels: LabelMode = "nearest",
) -> tuple[Tensor, Tensor]:
    """Resample about the centre: linear for the image, nearest or a linear vote for the label.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *source)
        Beyond its border the outermost voxels are repeated.
    label : integer Tensor of shape (n, *source)
        Beyond its border it becomes `medseg.labels.IGNORE_INDEX`.
    matrices : float64 Tensor of shape (n, ndim, ndim)
        Output offset to source offset, in mm and array axis order.
    spacing : sequence of float
        mm per voxel of each axis.
    size : sequence of int, optional
        Shape of the output, around the source's centre; that of the source by default.
    shift : float Tensor of shape (n, ndim), optional
        Added to the source offset, in mm.
    bend : sequence of n float Tensors of shape (ndim, *size), optional
        Added to the output offset before the matrix, in mm; None for an image that is not bent.
        Of size 1 along an axis that takes no part.
    labels : {"nearest", "linear"}
        How the label is resampled.
    """
    source, size = image.shape[2:], tuple(size or image.shape[2:])
    count, ndim = len(image), len(size)
    step = torch.tensor(spacing, dtype=torch.float64)
    voxels = matrices * step / step[:, None]  # from and to offsets in voxels
    shifts = torch.zeros(count, ndim, dtype=torch.float64) if shift is None else shift / step
    bends = [None] * count if bend is None else bend
    moving = _moving_axes(voxels, shifts, bends)
    fixed = [axis for axis in range(ndim) if axis not in moving]
    label = label.unsqueeze(1)
    image, label = (
        centre(t, [size[a] if a in fixed else source[a] for a in range(ndim)])
        for t in (image, label)
    )
    if not moving:
        return image.clone(), label.squeeze(1).clone()
    inner, out = [source[a] for a in moving], [size[a] for a in moving]
    order = [0, 1, *(a + 2 for a in fixed), *(a + 2 for a in moving)]  # fixed axes: channels
    image, label = (t.permute(order).reshape(count, -1, *inner) for t in (image, label))
    voxels, shifts = voxels[:, moving][:, :, moving], shifts[:, moving]
    if count == 1 and labels == "nearest" and bends[0] is None and _is_diagonal(voxels[0]):
        moved, turned = resample_axes(image, label, _axes(voxels[0], shifts[0], inner, out))
    else:
        places = []
        for matrix, offset, field in zip(voxels, shifts, bends, strict=True):
            if field is not None:
                units = step[moving].to(field).view(-1, *(1,) * len(moving))
                field = field[moving].reshape(-1, *out) / units
            places.append(_coordinates(matrix, offset, field, inner, out, image.device))
        moved, turned = resample(image, label, places, out)
        if labels == "linear":
            turned = vote(label, places, out)
    back = [order.index(axis) for axis in range(ndim + 2)]
    shape = [*(size[a] for a in fixed), *out]
    moved, turned = (t.reshape(count, -1, *shape).permute(back) for t in (moved, turned))
    return moved, turned.squeeze(1)


def centre(tensor: Tensor, size: Sequence[int]) -> Tensor:
    """Return a view of the middle of a batch (n, C, *spatial)."""
    for axis, n in enumerate(size, start=2):
        tensor = tensor.narrow(axis, (tensor.shape[axis] - n) // 2, n)
    return tensor


def _moving_axes(voxels: Tensor, shifts: Tensor, bends: Sequence[Tensor | None]) -> list[int]:
    """Return the axes that take part in the resampling of any image."""
    ndim = voxels.shape[1]
    mixed = (voxels != torch.eye(ndim, dtype=voxels.dtype)).any(0)
    bent = [any(b is not None and b.shape[a + 1] > 1 for b in bends) for a in range(ndim)]
    return [
        a
        for a in range(ndim)
        if bent[a] or mixed[a].any() or mixed[:, a].any() or shifts[:, a].any()
    ]


def _is_diagonal(matrix: Tensor) -> bool:
    """Tell whether each axis is read by itself."""
    return bool(torch.equal(matrix, matrix.diag().diag()))


def _axes(
    matrix: Tensor, shift: Tensor, source: Sequence[int], size: Sequence[int]
) -> list[Tensor]:
    """Return the source coordinates along each axis for a diagonal matrix; all in voxels."""
    parts = zip(matrix.diag(), shift, source, size, strict=True)
    return [
        (factor * (torch.arange(n) - (n - 1) / 2) + (extent - 1) / 2 + offset).float()
        for factor, offset, extent, n in parts
    ]


def _coordinates(
    matrix: Tensor,
    shift: Tensor,
    bend: Tensor | None,
    source: Sequence[int],
    size: Sequence[int],
    device: torch.device,
) -> Coordinates:
    """Return what gives the source coordinates of rows of one image's output; all in voxels."""
    ndim = len(size)
    terms: list[list[Tensor]] = []
    for a in range(ndim):
        offsets = [matrix[a, b] * (torch.arange(n) - (n - 1) / 2) for b, n in enumerate(size)]
        offsets[0] = offsets[0] + (source[a] - 1) / 2 + shift[a]
        shapes = [[-1 if b == axis else 1 for b in range(ndim)] for axis in range(ndim)]
        terms.append(
            [o.float().reshape(s).to(device) for o, s in zip(offsets, shapes, strict=True)]
        )
    weights = matrix.float().tolist()

    def at(rows: slice) -> list[Tensor]:
        places = []
        for row, (first, *others) in zip(weights, terms, strict=True):
            place = sum(others, start=first[rows].clone())
            if bend is not None:
                for weight, part in zip(row, bend, strict=True):
                    place = torch.add(place, part[rows], alpha=weight)
            places.append(place)
        return places

    return at
