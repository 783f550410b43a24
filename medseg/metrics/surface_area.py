"""Surface metrics whose border elements count by their area (3-D) or length (2-D)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Affine, Grid
from medseg.metrics.nearest import Lattice
from medseg.metrics.surface import SLACK, cut_to_content

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class AreaDistances:
    """Distances between two surfaces made of elements, in mm (px), with each element's size.

    An element sits on a corner of the voxel lattice whose 2, 4 or 8 voxels differ. Its size is in
    mm2 in 3-D, mm in 2-D and 1 in 1-D. Neither mask may be empty.
    """

    pred_to_label: Floats
    """From each element of the prediction to the nearest of the reference."""
    pred_area: Floats
    label_to_pred: Floats
    """From each element of the reference to the nearest of the prediction."""
    label_area: Floats

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice: share of both surfaces' area that lies within the tolerance.

        Parameters
        ----------
        tolerance : float
            In mm (px for photographs); a distance equal to it counts as within.

        References
        ----------
        .. [1] Nikolov et al., Deep learning to achieve clinically applicable segmentation of head
           and neck anatomy for radiotherapy, 2018.
        """
        limit = tolerance * (1 + SLACK)
        within = self.pred_area[self.pred_to_label <= limit].sum()
        within += self.label_area[self.label_to_pred <= limit].sum()
        return float(within / (self.pred_area.sum() + self.label_area.sum()))

    def asd(self) -> float:
        """Average surface distance from the prediction to the reference, weighted by area."""
        return float(np.average(self.pred_to_label, weights=self.pred_area))

    def asd_back(self) -> float:
        """Average surface distance from the reference to the prediction, weighted by area."""
        return float(np.average(self.label_to_pred, weights=self.label_area))

    def hd_percentile(self, percent: float = 95.0) -> float:
        """Larger of the two directed percentiles by area, without interpolation.

        Parameters
        ----------
        percent : float
            In [0, 100].
        """
        return max(
            _area_percentile(self.pred_to_label, self.pred_area, percent),
            _area_percentile(self.label_to_pred, self.label_area, percent),
        )


def area_distances(pred: Mask, label: Mask, grid: Grid) -> AreaDistances:
    """Measure the distances between the surface elements of two masks.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask of 1 to 3 axes; neither is empty. They may be crops of the
        grid's array; outside it is background.
    grid : Grid
        Grid of the masks: directions and spacings.

    Raises
    ------
    ValueError
        If the shapes differ or a mask is empty.
    """
    pred, label, to_world = cut_to_content(pred, label, grid)
    lattice = Lattice([n + 1 for n in label.shape], to_world)
    sizes = element_sizes(to_world)
    surfaces = []
    for mask in (pred, label):
        codes = corner_codes(mask)
        bitmap = lattice.bitmap((codes > 0) & (codes < len(sizes) - 1))
        cells = lattice.cells(bitmap)
        areas = sizes[codes[tuple(lattice.points(cells).T)]]
        surfaces.append((bitmap, cells, areas))
    (pred_map, pred_cells, pred_area), (label_map, label_cells, label_area) = surfaces
    return AreaDistances(
        lattice.distances(pred_cells, label_map, label_cells),
        pred_area,
        lattice.distances(label_cells, pred_map, pred_cells),
        label_area,
    )


def corner_codes(mask: Mask) -> NDArray[np.uint8]:
    """Return which of the voxels around each corner of the voxel lattice are set.

    Parameters
    ----------
    mask : bool ndarray of shape (*spatial)
        Outside the array is background.

    Returns
    -------
    uint8 ndarray, one longer than the mask along each axis
        A bit for each voxel around the corner, the one of the lowest indices in bit 0.
    """
    padded: NDArray[np.uint8] = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        window = tuple(slice(c, c + n + 1) for c, n in zip(corner, mask.shape, strict=True))
        codes |= np.left_shift(padded[window], bit, dtype=np.uint8)
    return codes


def element_sizes(to_world: Affine) -> Floats:
    """Return the size of the surface element of each corner code.

    The element separates the voxels that are set from those that are not, half-way between their
    centres: triangles of marching cubes [1]_ in 3-D, segments in 2-D. Where more than half of the
    voxels are set the element is that of the opposite code.

    Parameters
    ----------
    to_world : float64 ndarray of shape (ndim, ndim)
        Maps a step in index space to mm.

    Returns
    -------
    float64 ndarray of shape (2 ** 2 ** ndim,)
        Areas in mm2 (3-D), lengths in mm (2-D) or counts (1-D).

    References
    ----------
    .. [1] Lorensen and Cline, Marching cubes, SIGGRAPH 1987.
    """
    ndim = len(to_world)
    owners, simplices = _simplices(ndim)
    if ndim == 1:
        return np.bincount(owners, minlength=4).astype(np.float64)
    world = simplices @ to_world.T
    sides = world[:, 1:] - world[:, :1]  # (n, ndim - 1, ndim)
    gram = sides @ sides.transpose(0, 2, 1)
    sizes = np.sqrt(np.maximum(np.linalg.det(gram), 0.0)) / (ndim - 1)  # 1/1! and 1/2!
    return np.bincount(owners, weights=sizes, minlength=2 ** (2**ndim)).astype(np.float64)


def _area_percentile(distances: Floats, areas: Floats, percent: float) -> float:
    """Return the smallest distance within which a percentage of the area lies."""
    order = np.argsort(distances)
    share = np.cumsum(areas[order]) / areas.sum()
    place = min(int(np.searchsorted(share, percent / 100)), distances.size - 1)
    return float(distances[order[place]])


@lru_cache(maxsize=3)
def _simplices(ndim: int) -> tuple[NDArray[np.int64], Floats]:
    """Return points, segments or triangles of all codes: owning code and vertices."""
    owners: list[int] = []
    simplices: list[NDArray[np.float64]] = []
    full = 2 ** (2**ndim) - 1
    for code in range(1, full):
        small = code if 2 * code.bit_count() <= 2**ndim else full - code
        bits = [(small >> bit) & 1 for bit in range(2**ndim)]
        block = np.array(bits, dtype=np.float64).reshape((2,) * ndim)
        found = {1: _point, 2: _segments, 3: _triangles}[ndim](block)
        owners += [code] * len(found)
        simplices += found
    return np.array(owners), np.array(simplices)


def _point(_: Floats) -> list[Floats]:
    """Return the point between two different voxels."""
    return [np.array([[0.5]])]


def _segments(square: Floats) -> list[Floats]:
    """Return the segments of a square with one or two corners set."""
    corners = np.argwhere(square)
    if len(corners) == 2 and np.abs(corners[0] - corners[1]).sum() == 1:
        along = (corners[0] != corners[1]).astype(np.float64)
        across = 0.5 * (1 - along)
        return [np.stack([across, across + along])]
    return [np.array([[0.5, c[1]], [c[0], 0.5]]) for c in corners]


def _triangles(cube: Floats) -> list[Floats]:
    """Return the triangles of a cube with one to four corners set."""
    from skimage.measure import marching_cubes

    march: Callable[..., tuple[Floats, ...]] = marching_cubes
    vertices, faces, _, _ = march(cube, 0.5, method="lorensen", allow_degenerate=True)
    return [vertices[face].astype(np.float64) for face in faces]
