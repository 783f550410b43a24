"""Distances between the surfaces of two masks, all from one pass of nearest distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medseg.geometry.volume import Affine, Grid

SLACK = 1e-9
"""Relative slack of the NSD's comparison: a tolerance that equals a distance must count."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, voxel centre to voxel centre, in mm (px for photographs).

    The masks are the prediction's and the reference's; neither may be empty.
    """

    pred_to_label: NDArray[np.float64]
    """From each border voxel of the prediction to the nearest of the reference."""
    label_to_pred: NDArray[np.float64]
    """From each border voxel of the reference to the nearest of the prediction."""

    def hd(self) -> float:
        """Hausdorff distance: the largest distance of both directions."""
        return float(max(self.pred_to_label.max(), self.label_to_pred.max()))

    def hd_percentile(self, percent: float = 95.0) -> float:
        """Larger of the two directed percentiles, interpolated linearly; HD95 at 95."""
        return float(
            max(
                np.percentile(self.pred_to_label, percent),
                np.percentile(self.label_to_pred, percent),
            )
        )

    def assd(self) -> float:
        """Average symmetric surface distance: mean over the border voxels of both masks."""
        total = self.pred_to_label.sum() + self.label_to_pred.sum()
        return float(total / (self.pred_to_label.size + self.label_to_pred.size))

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice: share of both borders that lies within the tolerance.

        Parameters
        ----------
        tolerance : float
            In mm (px for photographs); a distance equal to it counts as within.

        References
        ----------
        .. [1] Nikolov et al., Deep learning to achieve clinically applicable segmentation of head
           and neck anatomy for radiotherapy, 2018 (here counted in voxels, not in area).
        """
        limit = tolerance * (1 + SLACK)
        within = np.count_nonzero(self.pred_to_label <= limit)
        within += np.count_nonzero(self.label_to_pred <= limit)
        return float(within / (self.pred_to_label.size + self.label_to_pred.size))


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask with a face neighbour outside it.

    Parameters
    ----------
    mask : bool ndarray of shape (*spatial)
        Voxels outside the array count as background.
    """
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis, size in enumerate(mask.shape):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + size)
            inner &= padded[tuple(window)]
    outer: NDArray[np.bool_] = mask & ~inner
    return outer


def surface_distances(
    pred: NDArray[np.bool_], label: NDArray[np.bool_], grid: Grid
) -> SurfaceDistances:
    """Measure the distances between the borders of two masks.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask; neither is empty. They may be crops of the grid's array:
        only the grid's directions and spacings are used.
    grid : Grid
        Grid of the masks; its affine may be anisotropic, permuted, oblique or sheared.

    Raises
    ------
    ValueError
        If the shapes differ or a mask is empty.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    if not (pred.any() and label.any()):
        raise ValueError("a surface distance needs two masks that are not empty")
    box = _box(pred | label)
    pred_border, label_border = border(pred[box]), border(label[box])
    to_world = grid.matrix[:-1, :-1]
    return SurfaceDistances(
        _nearest(pred_border, label_border, to_world),
        _nearest(label_border, pred_border, to_world),
    )


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a mask that is not empty."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(slices)


def _nearest(
    start: NDArray[np.bool_], goal: NDArray[np.bool_], to_world: Affine
) -> NDArray[np.float64]:
    """Return the distance of each voxel of ``start`` to the nearest one of ``goal``."""
    distances = np.zeros(int(np.count_nonzero(start)), dtype=np.float64)
    apart = ~goal[start]  # voxels on both borders are at distance 0 and need no search
    if apart.any():
        tree = cKDTree(
            np.argwhere(goal) @ to_world.T, leafsize=32, compact_nodes=False, balanced_tree=False
        )
        distances[apart] = tree.query(np.argwhere(start)[apart] @ to_world.T)[0]
    return distances
