"""Connected components of a mask."""

from __future__ import annotations

from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

CONNECTIVITY: dict[int, Literal[8, 26]] = {2: 8, 3: 26}
"""Neighbours that connect two voxels, by dimension: corners count."""


def count_components(mask: NDArray[np.bool_]) -> int:
    """Count the connected pieces of a 2-D (8 neighbours) or 3-D (26 neighbours) mask."""
    if not mask.any():
        return 0
    # as bytes: of bool, cc3d 4.1.1 mislabels planes with an odd number of columns
    _, count = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8),
        connectivity=CONNECTIVITY[mask.ndim],
        return_N=True,
    )
    return int(count)
