"""Distances between the surfaces of two masks: every surface metric from the same two arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Affine, Grid
from medseg.metrics.box import Box, Labels, content_box, memory_order, merge_boxes, structure_crops
from medseg.metrics.nearest import Lattice

SLACK = 1e-9
"""Relative slack of the NSD's comparison: a tolerance that equals a distance must count."""

Mask = NDArray[np.bool_]
Outside = Literal["background", "foreground"]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, voxel centre to voxel centre, in mm (px for photographs).

    The masks are the prediction's and the reference's; neither may be empty. A distance of 0 (a
    voxel on both borders) counts.
    """

    pred_to_label: NDArray[np.float64]
    """From each border voxel of the prediction to the nearest of the reference."""
    label_to_pred: NDArray[np.float64]
    """From each border voxel of the reference to the nearest of the prediction."""

    def hd(self) -> float:
        """Hausdorff distance: the largest distance of both directions."""
        return float(max(self.pred_to_label.max(), self.label_to_pred.max()))

    def hd_percentile(self, percent: float = 95.0, *, pooled: bool = False) -> float:
        """Hausdorff distance at a percentile, interpolated linearly; HD95 at 95.

        Parameters
        ----------
        percent : float
            In [0, 100].
        pooled : bool
            False: the larger of the two directed percentiles. True: the percentile of both
            directions' distances together, in which a bad direction can hide.
        """
        if pooled:
            both = np.concatenate([self.pred_to_label, self.label_to_pred])
            return float(np.percentile(both, percent))
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

    def masd(self) -> float:
        """Mean average surface distance: mean of the two directed means."""
        return (self.asd() + self.asd_back()) / 2

    def asd(self) -> float:
        """Average surface distance from the prediction to the reference."""
        return float(self.pred_to_label.mean())

    def asd_back(self) -> float:
        """Average surface distance from the reference to the prediction."""
        return float(self.label_to_pred.mean())

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice: share of both borders that lies within the tolerance.

        Counted in voxels; `medseg.metrics.surface_area` weighs them by area.

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


def surface_distances(
    pred: Mask, label: Mask, grid: Grid, *, outside: Outside = "background"
) -> SurfaceDistances:
    """Measure the distances between the borders of two masks.

    A border voxel has a face neighbour (4 in 2-D, 6 in 3-D) outside its mask.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask of 1 to 3 axes; neither is empty. They may be crops of the
        grid's array: only the grid's directions and spacings are used.
    grid : Grid
        Grid of the masks; its affine may be anisotropic, permuted, oblique or sheared.
    outside : {"background", "foreground"}
        What lies outside the array. With ``"foreground"`` the image edge is no border, as in the
        CHAOS challenge [1]_; the masks must then be whole, not crops.

    Returns
    -------
    SurfaceDistances
        Border voxels in C order (in memory order for arrays of another order).

    Raises
    ------
    ValueError
        If the shapes differ, a mask is empty, or a mask fills the array and has no border.

    References
    ----------
    .. [1] Kavur et al., CHAOS challenge: combined (CT-MR) healthy abdominal organ segmentation,
       Medical Image Analysis 2021.
    """
    pred, label, to_world = cut_to_content(pred, label, grid, grow=outside == "foreground")
    return _measure(pred, label, to_world, outside)


def _measure(pred: Mask, label: Mask, to_world: Affine, outside: Outside) -> SurfaceDistances:
    """Measure two masks that are cut to their content and lie in memory order."""
    lattice = Lattice(label.shape, to_world)
    if outside == "foreground":
        bitmaps = [lattice.bitmap(border(mask, outside=outside)) for mask in (pred, label)]
        cells = [lattice.cells(bitmap) for bitmap in bitmaps]
    else:
        found = [lattice.border(lattice.bitmap(mask)) for mask in (pred, label)]
        bitmaps, cells = [f[0] for f in found], [f[1] for f in found]
    if not (cells[0].size and cells[1].size):
        raise ValueError("a mask fills the whole array: without background it has no border")
    return SurfaceDistances(
        lattice.distances(cells[0], bitmaps[1], cells[1]),
        lattice.distances(cells[1], bitmaps[0], cells[0]),
    )


def case_surfaces(
    pred: Labels, label: Labels, structures: Sequence[Sequence[int]], grid: Grid
) -> Iterator[SurfaceDistances | None]:
    """Measure the surface distances of every structure of a case from one pass over its arrays.

    Parameters
    ----------
    pred, label : integer ndarray of shape (*spatial)
        Class indices; voxels whose label is ``IGNORE_INDEX`` are background in both.
    structures : sequence of sequence of int
        The class indices whose union is each structure.
    grid : Grid
        Grid of the arrays.

    Yields
    ------
    SurfaceDistances or None
        In the order of the structures; None where one of the masks is empty.
    """
    for pred_mask, label_mask in structure_crops(pred, label, structures):
        empty = not (pred_mask.any() and label_mask.any())
        yield None if empty else crop_distances(pred_mask, label_mask, grid)


def crop_distances(pred: Mask, label: Mask, grid: Grid) -> SurfaceDistances:
    """Measure two masks, neither empty, that are already cut to the box around both.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Masks as `medseg.metrics.box.structure_crops` yields them.
    grid : Grid
        Grid they were cut from.
    """
    order = memory_order(label)
    to_world = grid.matrix[:-1, :-1][:, order]
    return _measure(pred.transpose(order), label.transpose(order), to_world, "background")


def border(mask: Mask, *, outside: Outside = "background") -> Mask:
    """Return the voxels of a mask with a face neighbour outside it.

    Parameters
    ----------
    mask : bool ndarray of shape (*spatial)
        Mask of any number of axes.
    outside : {"background", "foreground"}
        What the voxels outside the array count as.
    """
    padded = np.pad(mask, 1, constant_values=outside == "foreground")
    inner = mask.copy()
    for axis, size in enumerate(mask.shape):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + size)
            inner &= padded[tuple(window)]
    outer: Mask = mask & ~inner
    return outer


def cut_to_content(
    pred: Mask, label: Mask, grid: Grid, *, grow: bool = False
) -> tuple[Mask, Mask, Affine]:
    """Cut two masks to the box around both and turn them to memory order.

    Returns
    -------
    pred, label : bool ndarray
        Views, slowest axis first; with ``grow`` one voxel wider where the array goes on.
    to_world : float64 ndarray of shape (ndim, ndim)
        Maps a step along the views' axes to mm.

    Raises
    ------
    ValueError
        If the shapes differ or a mask is empty.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    boxes = [content_box(mask) for mask in (pred, label)]
    union = merge_boxes(boxes)
    if None in boxes or union is None:
        raise ValueError("a surface distance needs two masks that are not empty")
    box = _grown(union, label.shape) if grow else union
    order = memory_order(label)
    to_world = grid.matrix[:-1, :-1][:, order]
    return pred[box].transpose(order), label[box].transpose(order), to_world


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    """Return a box one voxel wider, within the array."""
    return tuple(
        slice(max(side.start - 1, 0), min(side.stop + 1, size))
        for side, size in zip(box, shape, strict=True)
    )
