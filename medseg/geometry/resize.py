"""Sizes in place of spacings: how photographs of any size are brought to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Resize:
    """The size that each image is brought to; one of the two is set."""

    short_side: int | None = None
    """Pixels along the shorter side; the other follows, so that nothing is distorted."""
    size: tuple[int, ...] | None = None
    """Pixels along each axis, (rows, cols) for photographs."""

    def spacing(self, shape: Sequence[int], spacing: Sequence[float]) -> tuple[float, ...]:
        """Return the spacing at which an image has the wanted size.

        Parameters
        ----------
        shape : sequence of int
        spacing : sequence of float
            Of the image as it is.

        Examples
        --------
        >>> Resize(short_side=360).spacing((720, 960), (1.0, 1.0))
        (2.0, 2.0)
        >>> Resize(size=(360, 960)).spacing((720, 960), (1.0, 1.0))
        (2.0, 1.0)
        """
        if self.size is None:
            factor = min(shape) / (self.short_side or min(shape))
            return tuple(s * factor for s in spacing)
        return tuple(s * n / wanted for s, n, wanted in zip(spacing, shape, self.size, strict=True))
