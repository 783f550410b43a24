"""Turn volumes to the closest RAS+ axes and back: flips and permutations only, no voxel changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from medseg.geometry.volume import Affine, Grid, Volume

POSITIVE, NEGATIVE = "RAS", "LPI"

CORNER_TOLERANCE = 0.1
"""Voxels by which the corners of two grids may differ and still be the same grid.

Headers round: float32 affines, quaternions and DICOM decimal strings move the far corner of a large
scan by some 0.001 voxel. Real mistakes (a corner where a centre was meant, one slice more or less)
move it by 0.5 or more. At 0.1 each voxel still shares 73 % of its volume with its partner.
"""


class GridMismatchError(ValueError):
    """Two grids do not describe the same voxels; the message names shapes and affines."""


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """Target axis ``a`` is source axis ``source_axis[a]``, reversed where ``flipped[a]``."""

    source_axis: tuple[int, ...]
    flipped: tuple[bool, ...]


def axis_codes(affine: Affine) -> str:
    """Name the direction in which each voxel axis grows, such as ``"RAS"`` or ``"LPS"``.

    Parameters
    ----------
    affine : ndarray of shape (4, 4)
        Voxel index to RAS+ mm.

    Returns
    -------
    str
        One letter per voxel axis; for an oblique affine the closest world axis.

    Examples
    --------
    >>> axis_codes(np.diag([-0.8, -0.8, 2.0, 1.0]))
    'LPS'
    """
    world, sign = _closest_axes(affine)
    return "".join(POSITIVE[w] if s > 0 else NEGATIVE[w] for w, s in zip(world, sign, strict=True))


def to_closest_ras(volume: Volume) -> Volume:
    """Flip and permute the axes of a volume so that they are closest to right, anterior, superior.

    Parameters
    ----------
    volume : Volume
        In any stored order. A 2-D photograph has no anatomical axes and comes back as it is.

    Returns
    -------
    Volume
        The same voxels at the same world positions; ``data`` is a view.
    """
    if volume.grid.ndim == 2:
        return volume
    world, sign = _closest_axes(volume.affine)
    source_axis = tuple(int(a) for a in np.argsort(world))
    turn = _Turn(source_axis=source_axis, flipped=tuple(sign[a] < 0 for a in source_axis))
    return _apply(volume, turn)


def reorient_to(volume: Volume, grid: Grid) -> Volume:
    """Flip and permute the axes of a volume so that it lies on ``grid``.

    This takes a prediction from the canonical axes back to the stored file's, and a label that was
    stored with other axes onto its image.

    Parameters
    ----------
    volume : Volume
        Voxels whose grid is ``grid`` up to flips and permutations.
    grid : Grid
        The wanted axes; the result carries exactly its affine.

    Returns
    -------
    Volume
        The same voxels on ``grid``; ``data`` is a view.

    Raises
    ------
    GridMismatchError
        If the two grids are not the same voxels (corners within `CORNER_TOLERANCE`).
    """
    turned = _apply(volume, _turn_between(volume.grid, grid))
    return replace(turned, affine=grid.matrix)


def same_voxels(first: Grid, second: Grid) -> bool:
    """Tell whether two grids are the same voxels in the same order (`CORNER_TOLERANCE`)."""
    if first.shape != second.shape:
        return False
    identity = tuple(range(first.ndim))
    turn = _Turn(source_axis=identity, flipped=(False,) * first.ndim)
    return _corner_error(first, second, turn) <= CORNER_TOLERANCE


def _closest_axes(affine: Affine) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return for each voxel axis its closest world axis and the sign along it.

    The affine's rotation (polar decomposition, so that shear does not favour an axis) is matched
    column by column, the clearest first; a world axis that is taken is out for the others. This
    is nibabel's rule.
    """
    columns = affine[:-1, :-1] / np.linalg.norm(affine[:-1, :-1], axis=0)
    left, _, right = np.linalg.svd(columns)
    rotation = left @ right
    size = np.abs(rotation)
    world = np.zeros(size.shape[1], dtype=np.int64)
    for axis in np.argsort(-size.max(axis=0), kind="stable"):
        world[axis] = size[:, axis].argmax()
        size[world[axis]] = -1.0
    sign = np.sign(rotation[world, np.arange(world.size)])
    return tuple(int(w) for w in world), tuple(int(s) for s in sign)


def _turn_between(source: Grid, target: Grid) -> _Turn:
    """Find the flips and permutation that take ``source`` to ``target``."""
    if source.ndim != target.ndim:
        raise GridMismatchError(_difference(source, target))
    step = np.linalg.inv(source.matrix)[:-1, :-1] @ target.matrix[:-1, :-1]
    source_axis = tuple(int(a) for a in np.abs(step).argmax(axis=0))
    flipped = tuple(bool(step[a, t] < 0) for t, a in enumerate(source_axis))
    turn = _Turn(source_axis=source_axis, flipped=flipped)
    if (
        sorted(source_axis) != list(range(source.ndim))
        or tuple(source.shape[a] for a in source_axis) != target.shape
        or _corner_error(source, target, turn) > CORNER_TOLERANCE
    ):
        raise GridMismatchError(_difference(source, target))
    return turn


def _corner_error(source: Grid, target: Grid, turn: _Turn) -> float:
    """Return the largest distance, in voxels along an axis, between corresponding corners."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in target.shape))))
    expected = np.empty_like(corners)
    for axis, (a, flip) in enumerate(zip(turn.source_axis, turn.flipped, strict=True)):
        expected[:, a] = target.shape[axis] - 1 - corners[:, axis] if flip else corners[:, axis]
    to_source = np.linalg.inv(source.matrix) @ target.matrix
    found = corners @ to_source[:-1, :-1].T + to_source[:-1, -1]
    return float(np.abs(found - expected).max())


def _apply(volume: Volume, turn: _Turn) -> Volume:
    """Turn data and affine together."""
    ndim = volume.grid.ndim
    to_source = np.zeros((ndim + 1, ndim + 1))
    to_source[-1, -1] = 1.0
    for axis, (a, flip) in enumerate(zip(turn.source_axis, turn.flipped, strict=True)):
        to_source[a, axis] = -1.0 if flip else 1.0
        to_source[a, -1] = volume.grid.shape[a] - 1 if flip else 0.0
    data = volume.data.transpose(0, *(a + 1 for a in turn.source_axis))
    data = data[:, *(slice(None, None, -1 if flip else 1) for flip in turn.flipped)]
    return Volume(data=data, affine=volume.affine @ to_source + 0.0)  # + 0.0 turns -0.0 into 0.0


def _difference(source: Grid, target: Grid) -> str:
    """Say how two grids differ."""
    if sorted(source.shape) != sorted(target.shape):
        return f"shape {source.shape} is not {target.shape}"
    return (
        f"shape {source.shape} with affine {_rows(source)} is not the same voxels as "
        f"shape {target.shape} with affine {_rows(target)}"
    )


def _rows(grid: Grid) -> str:
    """Write the affine's rows on one line."""
    return "[" + "; ".join(" ".join(f"{x:.5g}" for x in row) for row in grid.affine[:-1]) + "]"
