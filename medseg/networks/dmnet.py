"""Dynamic multi-scale filter network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from medseg.networks.context.dcm import DynamicFilters
from medseg.networks.context_network import ContextNetwork


class DMNet(ContextNetwork):
    """Depthwise filters of several sizes that the image itself generates [1]_.

    50.81 M parameters with 19 classes in 2-D, without the auxiliary head.

    Parameters
    ----------
    sizes : sequence of int
        Odd sides of the filters.
    **arguments
        Of `medseg.networks.context_network.ContextNetwork`.

    References
    ----------
    .. [1] He, Deng and Qiao, Dynamic multi-scale filters for semantic segmentation, ICCV 2019.
    """

    def __init__(self, *, sizes: Sequence[int] = (1, 3, 5, 7), **arguments: Any) -> None:
        super().__init__(partial(DynamicFilters, sizes=sizes), **arguments)
