"""Point-wise spatial attention network in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any

from medseg.errors import ConfigError
from medseg.networks.context.psa import PointwiseAttention
from medseg.networks.context_network import ContextNetwork

MASKS = {2: 97, 3: 15}  # 9409 and 3375 offsets


class PSANet(ContextNetwork):
    """Attention between all voxels by weights for their offsets, in both directions [1]_.

    56.77 M parameters with 19 classes in 2-D, without the auxiliary head.

    Parameters
    ----------
    ndim : int
        2 or 3.
    mask : int, optional
        Odd side of each voxel's map of offsets. Default: 97 in 2-D, which serves a map of 97
        after the shrinking, 15 in 3-D.
    shrink : int
        The attention works on the map shrunk by it, and to at most ``(mask + 1) / 2`` a side.
    **arguments
        Of `medseg.networks.context_network.ContextNetwork`.

    References
    ----------
    .. [1] Zhao et al., PSANet: point-wise spatial attention network for scene parsing, ECCV 2018.
    """

    def __init__(
        self, *, ndim: int, mask: int | None = None, shrink: int = 2, **arguments: Any
    ) -> None:
        side = MASKS[ndim] if mask is None else mask
        if side < 1 or side % 2 == 0:
            raise ConfigError(
                f"network.arguments.mask is {side}; give an odd side of the map of offsets"
            )
        if shrink < 1:
            raise ConfigError(
                f"network.arguments.shrink is {shrink}; give a whole number from 1 on"
            )
        super().__init__(
            partial(PointwiseAttention, mask=side, shrink=shrink), ndim=ndim, **arguments
        )
