"""A volume is data plus affine; a grid is the pair (shape, affine). Nothing here touches a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where voxels stand in the world; JSON-able, so that artefacts can hold it.

    Attributes
    ----------
    shape : tuple of int
        Voxels along each spatial axis, 2 or 3 of them.
    affine : nested tuple of float
        (ndim + 1, ndim + 1); maps a 0-based voxel index (centres) to RAS+ mm. For photographs it
        is the identity and the unit is px.
    """

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: Affine) -> Grid:
        """Build a grid from an array affine."""
        return cls(
            shape=tuple(int(n) for n in shape),
            affine=tuple(tuple(float(x) for x in row) for row in np.asarray(affine)),
        )

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.shape)

    @property
    def matrix(self) -> Affine:
        """The affine as an array."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between voxel centres along each axis, in mm (px for photographs)."""
        return tuple(float(s) for s in np.linalg.norm(self.matrix[:-1, :-1], axis=0))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL (3-D only)."""
        return float(abs(np.linalg.det(self.matrix[:-1, :-1]))) / 1000.0


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels with their place in the world.

    Attributes
    ----------
    data : ndarray of shape (C, *spatial)
        Images are float32 or the stored integer type; labels are int16 with C = 1.
    affine : float64 ndarray of shape (ndim + 1, ndim + 1)
        Voxel index to RAS+ mm.
    """

    data: NDArray[Any]
    affine: Affine

    def __post_init__(self) -> None:
        expected = (self.data.ndim, self.data.ndim)
        if self.affine.shape != expected:
            raise ValueError(
                f"affine has shape {self.affine.shape}; data of shape {self.data.shape} "
                f"(channels first) needs {expected}"
            )

    @property
    def grid(self) -> Grid:
        """Shape and affine of the spatial axes."""
        return Grid.of(self.data.shape[1:], self.affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel spacing in mm along each spatial axis."""
        return self.grid.spacing
