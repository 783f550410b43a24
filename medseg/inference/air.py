"""Which normalised values are air, so that tiles of nothing else can be left out."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.artefacts import ChannelNormalization

AIR_HU = -950.0
"""Up to here a CT voxel is air; lung tissue lies above."""

AIR_MARGIN = 0.05
"""Added to air's normalised value: the ripples that splines leave beside an edge."""


def air_values(normalization: Sequence[ChannelNormalization]) -> tuple[float, ...] | None:
    """Return per channel the normalised value up to which a voxel is air; None where unknown.

    Known for CT in Hounsfield units, where each channel is normalised by fixed numbers: the value
    of `AIR_HU`, or of what the plan clips to where that is higher, plus `AIR_MARGIN`. Stored values
    that are not Hounsfield units, all above 0 say, are never taken for air.
    """
    values = []
    for channel in normalization:
        if channel.scheme != "ct":
            return None
        floor = AIR_HU if channel.clip is None else max(AIR_HU, channel.clip[0])
        values.append((floor - channel.mean) / max(channel.std, 1e-8) + AIR_MARGIN)
    return tuple(values)
