"""Pyramid scene parsing network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from medseg.networks.context.ppm import PyramidPooling
from medseg.networks.context_network import ContextNetwork


class PSPNet(ContextNetwork):
    """Pyramid pooling on a dilated ResNet [1]_, with an auxiliary head on its third stage.

    46.61 M parameters with 19 classes in 2-D, without the auxiliary head, whose weight is 0.4
    in [1]_.

    Parameters
    ----------
    bins : sequence of int
        Regions per axis of each pooled branch.
    **arguments
        Of `medseg.networks.context_network.ContextNetwork`; each branch has ``channels`` too.

    References
    ----------
    .. [1] Zhao et al., Pyramid scene parsing network, CVPR 2017.
    """

    def __init__(self, *, bins: Sequence[int] = (1, 2, 3, 6), **arguments: Any) -> None:
        super().__init__(partial(PyramidPooling, bins=bins), **arguments)
