"""What predicting a case gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.inference.maps import MapName
from medseg.inference.sweep import Tally
from medseg.inference.times import StepTimes


@dataclass(frozen=True, kw_only=True)
class CasePrediction:
    """What a network says of a case, on the canonical grid."""

    indices: NDArray[np.int16]
    """Class indices, shape (*spatial,)."""
    maps: Mapping[MapName, NDArray[np.uint8]]
    """Maps asked for, each (channels, *spatial); 255 is 1. See `medseg.inference.maps`."""
    tally: Tally
    """What became of the tiles."""
    times: StepTimes
    """Seconds of the steps ``network`` and ``decode``, added to those handed in."""
