"""Implicit shapes in millimetres: a level below zero is inside, roughly a signed distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""Body coordinates in mm, shape (3, *box)."""
Level = NDArray[np.float32]
"""Signed level in mm, shape (*box)."""
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Space:
    """A canonical (RAS+) voxel grid and the pose of the body in it.

    Attributes
    ----------
    points : float32 ndarray of shape (3, I, J, K)
        Body coordinates of every voxel centre in mm: x to the right, y to the front, z to the head.
    start : tuple of float
        Scanner position of voxel (0, 0, 0) in mm.
    spacing : tuple of float
        Spacing in mm.
    pose : float64 ndarray of shape (3, 3)
        Turns scanner coordinates into body coordinates.
    """

    points: Points
    start: tuple[float, float, float]
    spacing: tuple[float, float, float]
    pose: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        start: tuple[float, float, float],
        pose: NDArray[np.float64],
    ) -> Space:
        """Lay out the body coordinates of a grid."""
        axes = [
            s + d * np.arange(n, dtype=np.float32)
            for n, d, s in zip(shape, spacing, start, strict=True)
        ]
        scanner = np.stack(np.meshgrid(*axes, indexing="ij"))
        points = np.tensordot(pose.astype(np.float32), scanner, axes=1)
        return cls(points=points, start=start, spacing=spacing, pose=pose)

    def around(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
        """Return the index box that holds everything between two body corners, in mm."""
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
        scanner = self.pose.T @ corners
        first = np.floor((scanner.min(1) - self.start) / self.spacing).astype(int)
        last = np.ceil((scanner.max(1) - self.start) / self.spacing).astype(int) + 1
        shape = self.points.shape[1:]
        bounds = zip(np.clip(first, 0, shape), np.clip(last, 0, shape), strict=True)
        i, j, k = (slice(int(a), int(b)) for a, b in bounds)
        return (i, j, k)


@dataclass(frozen=True)
class Blob:
    """An ellipsoid whose radius is bent by low-order harmonics of the direction.

    Attributes
    ----------
    center, radii : float64 ndarray of shape (3,)
        In mm.
    turn : float64 ndarray of shape (3, 3)
        From body axes to the ellipsoid's own.
    wobble : float64 ndarray of shape (8,)
        Share of the radius that each harmonic adds.
    """

    center: NDArray[np.float64]
    radii: NDArray[np.float64]
    turn: NDArray[np.float64]
    wobble: NDArray[np.float64]

    def box(self, space: Space) -> Box:
        """Return the index box that holds the blob and a margin."""
        reach = float(self.radii.max()) * (1.1 + float(np.abs(self.wobble).sum()))
        return space.around(self.center - reach, self.center + reach)

    def level(self, points: Points) -> Level:
        """Return the level at body points (3, *box)."""
        offset = points - self.center.astype(np.float32)[:, None, None, None]
        own = np.tensordot((self.turn / self.radii[:, None]).astype(np.float32), offset, axes=1)
        rho = np.sqrt((own**2).sum(0)) + np.float32(1e-6)
        x, y, z = own / rho
        harmonics = (x, y, z, x * y, y * z, x * z, x * x - y * y, x * y * z * 3)
        radius = np.float32(1) + sum(
            np.float32(w) * h for w, h in zip(self.wobble, harmonics, strict=True)
        )
        level: Level = (rho - radius) * np.float32(self.radii.min())
        return level


@dataclass(frozen=True)
class Tube:
    """A round tube along a polyline.

    Attributes
    ----------
    path : float64 ndarray of shape (n, 3)
        Corners in mm.
    radius : float64 ndarray of shape (n,)
        In mm, linear between the corners.
    """

    path: NDArray[np.float64]
    radius: NDArray[np.float64]

    def box(self, space: Space) -> Box:
        """Return the index box that holds the tube and a margin."""
        reach = float(self.radius.max()) + 6.0
        return space.around(self.path.min(0) - reach, self.path.max(0) + reach)

    def level(self, points: Points) -> Level:
        """Return the level at body points (3, *box)."""
        level = np.full(points.shape[1:], np.inf, dtype=np.float32)
        for i in range(len(self.path) - 1):
            start = self.path[i].astype(np.float32)[:, None, None, None]
            along = (self.path[i + 1] - self.path[i]).astype(np.float32)[:, None, None, None]
            share = ((points - start) * along).sum(0) / np.float32((along**2).sum())
            share = np.clip(share, 0, 1)
            radius = self.radius[i] + (self.radius[i + 1] - self.radius[i]) * share
            distance = np.sqrt(((points - start - share * along) ** 2).sum(0))
            level = np.minimum(level, distance - radius.astype(np.float32))
        return level


def turn_about(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the rotation by angles about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        matrix = step @ matrix
    return matrix


def superellipse(points: Points, half: tuple[float, float], power: float = 2.4) -> Level:
    """Return the level of a rounded box about the z axis with half widths in mm."""
    x, y = np.abs(points[0]) / np.float32(half[0]), np.abs(points[1]) / np.float32(half[1])
    level: Level = ((x**power + y**power) ** (1 / power) - 1) * np.float32(min(half))
    return level.astype(np.float32)


def smooth_union(a: Level, b: Level, blend: float) -> Level:
    """Unite two levels with a fillet of about ``blend`` mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend, 0, 1)
    level: Level = (b + (a - b) * h - blend * h * (1 - h)).astype(np.float32)
    return level
