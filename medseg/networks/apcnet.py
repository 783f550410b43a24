"""Adaptive pyramid context network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from medseg.networks.context.acm import AdaptiveContexts
from medseg.networks.context_network import ContextNetwork


class APCNet(ContextNetwork):
    """Regions of several scales, summed for each voxel by weights it chooses itself [1]_.

    53.99 M parameters with 19 classes in 2-D, without the auxiliary head.

    Parameters
    ----------
    bins : sequence of int
        Regions per axis of each scale.
    **arguments
        Of `medseg.networks.context_network.ContextNetwork`.

    References
    ----------
    .. [1] He et al., Adaptive pyramid context network for semantic segmentation, CVPR 2019.
    """

    def __init__(self, *, bins: Sequence[int] = (1, 2, 3, 6), **arguments: Any) -> None:
        super().__init__(partial(AdaptiveContexts, bins=bins), **arguments)
