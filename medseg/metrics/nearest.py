"""Exact distances from the points of one lattice set to the nearest of another.

Most points of two similar surfaces have a close neighbour on the other one: the offsets of a
lattice sorted by physical length are looked up in the other set's bitmap, and the first hit is the
nearest point. What is left (outliers, bad predictions) goes to a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medseg.geometry.volume import Affine

Mask = NDArray[np.bool_]
Cells = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK = 1 << 18
"""Cells that are worked on at once, so that they stay in the cache."""
OFFSETS = 2500
"""Offsets of the ball that is looked up before the tree takes over."""
PATIENCE = 0.25
"""Share of the tree's cost that look-ups may spend without a find."""
GATHER_NS = 0.8
CALL_NS = 4000.0
TREE_NS = 1000.0
BUILD_NS = 100.0
"""Rough cost of one look-up, of one offset, of one point sought in the tree and of one point put
into it: only speed hangs on them."""
RANKS = 255
"""Shells that one byte can tell apart."""
SAME = 1e-12
"""Relative difference below which two offsets have the same length."""


class Lattice:
    """A block of lattice points laid out flat, with a margin that keeps look-ups in bounds.

    The margin behind each row also serves as the one before the next row, so that a cell plus an
    offset of the ball never meets a wrong cell.

    Parameters
    ----------
    shape : tuple of int
        Points along each axis.
    to_world : float64 ndarray of shape (ndim, ndim)
        Maps a step in index space to mm; columns are the axes.
    """

    def __init__(self, shape: Sequence[int], to_world: Affine) -> None:
        self.shape = tuple(shape)
        self.to_world = to_world
        offsets, lengths = _ball(tuple(to_world.ravel().tolist()), len(self.shape), OFFSETS)
        inside = (np.abs(offsets) < np.array(shape)).all(axis=1)
        if not inside.all():
            offsets, lengths = offsets[inside], lengths[inside]
        margin = np.maximum(np.abs(offsets).max(axis=0), 1)
        self.padded = tuple(int(n) for n in np.array(shape) + margin)
        self.strides = np.cumprod([1, *self.padded[:0:-1]])[::-1]
        self.head = int(self.strides @ margin)
        self.size = int(np.prod(self.padded))
        self.steps: list[int] = (offsets @ self.strides).tolist()
        longer = lengths[1:] > lengths[:-1] * (1 + SAME)
        self.shells: list[int] = [0, *(np.flatnonzero(longer) + 1).tolist(), len(lengths)]
        self.radii = lengths[self.shells[:-1]]
        self.batches = _batches(self.shells)

    def empty(self) -> Mask:
        """Return a bitmap without points."""
        return np.zeros(self.size + 2 * self.head, dtype=np.bool_)

    def block(self, bitmap: Mask) -> Mask:
        """Return the view of a bitmap that has the lattice's shape."""
        body = bitmap[self.head : self.head + self.size].reshape(self.padded)
        return body[tuple(slice(0, n) for n in self.shape)]

    def bitmap(self, mask: Mask) -> Mask:
        """Lay out a mask of the lattice's shape."""
        bitmap = self.empty()
        self.block(bitmap)[...] = mask
        return bitmap

    def cells(self, bitmap: Mask) -> Cells:
        """Return the sorted cells of a bitmap's points, counted without its head."""
        body = bitmap[self.head : self.head + self.size]
        found = []
        for start in range(0, self.size, CHUNK):
            chunk = body[start : start + CHUNK]
            if chunk.any():
                found.append(np.flatnonzero(chunk) + start)
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def border(self, bitmap: Mask) -> tuple[Mask, Cells]:
        """Return the points with a face neighbour that is not set, as bitmap and cells."""
        border = self.empty()
        found = []
        for start in range(self.head, self.head + self.size, CHUNK):
            stop = min(start + CHUNK, self.head + self.size)
            chunk = bitmap[start:stop]
            if not chunk.any():
                continue
            inner = chunk.copy()
            for step in self.strides.tolist():
                inner &= bitmap[start - step : stop - step]
                inner &= bitmap[start + step : stop + step]
            outer = np.greater(chunk, inner, out=border[start:stop])
            found.append(np.flatnonzero(outer) + (start - self.head))
        return border, np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def points(self, cells: Cells) -> NDArray[np.int64]:
        """Return the indices (n, ndim) of cells."""
        return np.stack(np.unravel_index(cells, self.padded), axis=1)

    def distances(self, start: Cells, goal: Mask, goal_cells: Cells) -> Floats:
        """Return the distance from each start cell to the nearest goal cell.

        Parameters
        ----------
        start : int64 ndarray of shape (n,)
            Cells to start from.
        goal : bool ndarray
            Bitmap of the goal; at least one point.
        goal_cells : int64 ndarray of shape (m,)
            Its cells.

        Returns
        -------
        float64 ndarray of shape (n,)
            In mm; exact, from integer steps.
        """
        found = np.zeros(start.size, dtype=np.float64)
        left = np.flatnonzero(~goal[self.head :].take(start))
        left = self._look_up(start, goal, goal_cells.size, left, found)
        if left.size:
            found[left] = nearest(self.points(start[left]), self.points(goal_cells), self.to_world)
        return found

    def _look_up(self, start: Cells, goal: Mask, goals: int, left: Cells, found: Floats) -> Cells:
        """Fill in the distances that the ball finds; return which are left.

        The search goes on while the look-ups cost no more than the tree would for the points they
        find, plus a share of what the tree would cost at the start.
        """
        cells = start.take(left)
        build = BUILD_NS * goals
        credit = build + PATIENCE * TREE_NS * cells.size
        for first, stop in self.batches:
            if not left.size or credit < 0:
                break
            rank = self._rank(cells, goal, first, stop)
            looked = self.shells[stop] - self.shells[first]
            credit -= looked * (CALL_NS + GATHER_NS * cells.size)
            hit = np.flatnonzero(rank)
            if hit.size:
                nearest_shell = stop - rank.take(hit).astype(np.int64)
                found[left.take(hit)] = self.radii.take(nearest_shell)
                rest = np.flatnonzero(rank == 0)
                left, cells = left.take(rest), cells.take(rest)
                limit = build + PATIENCE * TREE_NS * cells.size
                credit = min(credit + hit.size * TREE_NS, limit)
        return left

    def _rank(self, cells: Cells, goal: Mask, first: int, stop: int) -> NDArray[np.uint8]:
        """Return ``stop`` minus the nearest shell with a goal; 0 where none has one."""
        rank = np.zeros(cells.size, dtype=np.uint8)
        for shell in range(first, stop):
            steps = self.steps[self.shells[shell] : self.shells[shell + 1]]
            hit = goal[self.head + steps[0] :].take(cells)
            for step in steps[1:]:
                hit |= goal[self.head + step :].take(cells)
            np.maximum(rank, hit.view(np.uint8) * np.uint8(stop - shell), out=rank)
        return rank


def nearest(start: NDArray[np.int64], goal: NDArray[np.int64], to_world: Affine) -> Floats:
    """Return the distance from each start point to the nearest goal point, both far apart.

    Parameters
    ----------
    start, goal : int64 ndarray of shape (n, ndim) and (m, ndim)
        Lattice points.
    to_world : float64 ndarray of shape (ndim, ndim)
        Maps a lattice step to mm.
    """
    tree = cKDTree(goal @ to_world.T, leafsize=32, compact_nodes=False, balanced_tree=False)
    _, index = tree.query(start @ to_world.T)
    return _lengths((goal[index] - start) @ to_world.T)


def _batches(shells: Sequence[int]) -> list[tuple[int, int]]:
    """Group the shells after the first into batches that add an eighth to what was looked up."""
    batches, first = [], 1
    for stop in range(2, len(shells)):
        if 8 * (shells[stop] - shells[first]) >= shells[first] or stop - first == RANKS:
            batches.append((first, stop))
            first = stop
    if first < len(shells) - 1:
        batches.append((first, len(shells) - 1))
    return batches


def _lengths(steps: Floats) -> Floats:
    """Return the Euclidean length of each row."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", steps, steps))
    return lengths


@lru_cache(maxsize=32)
def _ball(to_world: tuple[float, ...], ndim: int, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the lattice offsets of a ball of about ``count`` points, nearest first."""
    matrix = np.array(to_world).reshape(ndim, ndim)
    unit_ball = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}[ndim]
    radius = (count * abs(np.linalg.det(matrix)) / unit_ball) ** (1 / ndim)
    extent = np.floor(radius * np.linalg.norm(np.linalg.inv(matrix), axis=1)).astype(int)
    axes = [np.arange(-n, n + 1) for n in extent]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, ndim)
    lengths = _lengths(offsets @ matrix.T)
    kept = np.flatnonzero(lengths <= radius)
    order = kept[np.argsort(lengths[kept], kind="stable")]
    return offsets[order], lengths[order]
