"""BiSeNet in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from medseg.networks.encoders.two_paths import TwoPaths
from medseg.networks.headed import PyramidNetwork
from medseg.networks.heads import map_head


class BiSeNet(PyramidNetwork):
    """A shallow path for detail beside a deep one for context, fused at an eighth [1]_.

    13.28 M parameters with 19 classes in 2-D, without the two auxiliary heads, whose weight is 1.

    Parameters
    ----------
    encoder : str
        Of the context path: a key of `medseg.networks.encoders.ENCODERS`.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of heads on the two refined maps of the context path.
    **arguments
        Of `medseg.networks.headed.PyramidNetwork`.

    References
    ----------
    .. [1] Yu et al., BiSeNet: bilateral segmentation network for real-time semantic segmentation,
       ECCV 2018.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        encoder: str = "resnet18",
        dropout: float = 0.1,
        auxiliary: bool = True,
        **arguments: Any,
    ) -> None:
        fused, high, low = (
            partial(map_head, level=level, channels=channels, dropout=dropout)
            for level, channels in ((2, 256), (0, 64), (1, 64))
        )
        aux = (high, low) if auxiliary else ()
        super().__init__(fused, aux, encoder=partial(TwoPaths, encoder), **arguments)
