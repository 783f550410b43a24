"""DeepLab v3 in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from medseg.networks.context.aspp import make_aspp
from medseg.networks.encoders import Encoder
from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import ContextHead, classifier


class DeepLabV3(HeadedNetwork):
    """Atrous spatial pyramid pooling with image pooling on a dilated ResNet [1]_.

    The default is the wide form in use today: 512 channels and a 3x3 fusion, 65.75 M parameters
    with 19 classes in 2-D without the auxiliary head. The paper has ``channels=256``,
    ``fuse_kernel=1`` and ``multigrid=(1, 2, 4)``, and no auxiliary head.

    Parameters
    ----------
    rates : sequence of int, optional
        Of the dilated branches. Default: (12, 24, 36) at output stride 8, in proportion at others.
    fuse_kernel : int
        Odd side of the convolution that fuses the branches.
    **arguments
        Of `medseg.networks.headed.HeadedNetwork`; each branch has ``channels`` too.

    References
    ----------
    .. [1] Chen et al., Rethinking atrous convolution for semantic image segmentation,
       arXiv 1706.05587.
    """

    def __init__(
        self, *, rates: Sequence[int] | None = None, fuse_kernel: int = 3, **arguments: Any
    ) -> None:
        super().__init__(partial(_head, rates=rates, fuse_kernel=fuse_kernel), **arguments)


def _head(
    encoder: Encoder,
    num_classes: int,
    *,
    rates: Sequence[int] | None,
    fuse_kernel: int,
    ndim: int,
    channels: int,
    norm: str,
    dropout: float,
) -> ContextHead:
    """Return the dilated pyramid on the last map, and the classifier behind it."""
    context = make_aspp(encoder, ndim, channels, rates=rates, norm=norm, fuse_kernel=fuse_kernel)
    return ContextHead(context, classifier(ndim, channels, num_classes, dropout))
