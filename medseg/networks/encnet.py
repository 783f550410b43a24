"""Context encoding network in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.context.encoding import ContextEncoding
from medseg.networks.encoders import Encoder
from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct
from medseg.networks.output import Prediction


class EncNet(HeadedNetwork):
    """A dilated ResNet whose channels are gated by a learnt code of the whole image [1]_.

    In training it also returns ``extras["presence"]``: which classes occur, scored from the code;
    the loss on it has weight 0.2. 33.53 M parameters with 19 classes in 2-D, without the auxiliary
    head.

    Parameters
    ----------
    codes : int
        Codewords.
    **arguments
        Of `medseg.networks.headed.HeadedNetwork`.

    References
    ----------
    .. [1] Zhang et al., Context encoding for semantic segmentation, CVPR 2018.
    """

    def __init__(self, *, codes: int = 32, **arguments: Any) -> None:
        super().__init__(partial(_Head, codes=codes), **arguments)


class _Head(nn.Module):
    """A convolution on the coarsest map, the encoding, logits, and the presence of each class."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        codes: int,
        ndim: int,
        channels: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        given = encoder.channels[-1]
        self.reduce = ConvNormAct(ndim, given, channels, kernel=encoder.kernel, norm=norm)
        self.encode = ContextEncoding(ndim, channels, codes=codes, norm=norm)
        self.classify = classifier(ndim, channels, num_classes, dropout)
        self.presence = nn.Linear(channels, num_classes)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the coarsest map, and scores (B, num_classes, 1, ...)."""
        gated, code = self.encode(self.reduce(maps[-1]))
        scores = self.presence(code)[(..., *(None,) * (gated.ndim - 2))]
        return Prediction(self.classify(gated), extras={"presence": scores})
