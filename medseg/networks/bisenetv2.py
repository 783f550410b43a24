"""BiSeNet v2 in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from medseg.networks.encoders.bilateral import Bilateral
from medseg.networks.headed import PyramidNetwork
from medseg.networks.heads import map_head


class BiSeNetV2(PyramidNetwork):
    """A wide shallow branch and a thin deep one, each guiding the other where they join [1]_.

    3.36 M parameters with 19 classes in 2-D, 14.80 M with the four auxiliary heads, whose weight
    is 1.

    Parameters
    ----------
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on each stage of the thin branch.
    **arguments
        ``ndim``, ``in_channels``, ``num_classes``, and those of
        `medseg.networks.encoders.bilateral.Bilateral`.

    References
    ----------
    .. [1] Yu et al., BiSeNet V2: bilateral network with guided aggregation for real-time semantic
       segmentation, IJCV 129, 2021, table 1 and figures 4 to 6.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(self, *, dropout: float = 0.1, auxiliary: bool = True, **arguments: Any) -> None:
        joint, *boosters = (
            partial(map_head, level=level, channels=channels, convs=convs, dropout=dropout)
            for level, channels, convs in (
                (4, 1024, 1),
                (0, 16, 2),
                (1, 64, 2),
                (2, 256, 2),
                (3, 1024, 2),
            )
        )
        aux = boosters if auxiliary else ()
        super().__init__(joint, aux, encoder=Bilateral, **arguments)
