"""K-Net (semantic) in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from medseg.networks.blocks import CONV, init_weights
from medseg.networks.context.aspp import make_aspp
from medseg.networks.context.kernels import KernelUpdate
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.layers import scaled
from medseg.networks.output import Prediction


class KNet(PyramidNetwork):
    """The classifier's weights are kernels, updated by what their own masks show [1]_.

    On DeepLab v3: its context module and classifier make first masks and kernels; each round pools
    the map under every mask, updates the kernels by gates, lets them attend to each other, and
    makes new masks. The masks before each round have a loss of their own. Vectors under a mask are
    averaged, not summed as in [1]_, so that a larger image means no larger vectors. The number of
    parameters is not in the paper: unverified.

    Parameters
    ----------
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels : int
        Of the context module and the kernels, before ``width``.
    rates : sequence of int, optional
        Dilations of the context module; by default from the output stride.
    rounds, heads : int
        Updates of the kernels, and attention heads in each.
    **arguments
        Of `medseg.networks.headed.PyramidNetwork`.

    References
    ----------
    .. [1] Zhang et al., K-Net: towards unified image segmentation, NeurIPS 2021.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 512,
        rates: Sequence[int] | None = None,
        rounds: int = 3,
        heads: int = 8,
        **arguments: Any,
    ) -> None:
        make = partial(_Head, channels=channels, rates=rates, rounds=rounds, heads=heads)
        super().__init__(make, output_stride=output_stride, **arguments)


class _Head(nn.Module):
    """Context, first masks, and the rounds that follow."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        norm: str,
        channels: int,
        rates: Sequence[int] | None,
        rounds: int,
        heads: int,
    ) -> None:
        super().__init__()
        wide = scaled(channels, width)
        self.context = make_aspp(encoder, ndim, wide, rates=rates, norm=norm)
        updates = [KernelUpdate(ndim, wide, heads) for _ in range(rounds)]
        self.classify: Any = CONV[ndim](wide, num_classes, 1)
        self.updates = nn.ModuleList(updates)
        self.context.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the coarsest map, and those before each round."""
        x = self.context(maps[-1])
        made = [self.classify(x)]
        kernels = self.classify.weight.flatten(1).expand(len(x), -1, -1)
        for update in self.updates:
            logits, kernels = update(x, made[-1], kernels)
            made.append(logits)
        return Prediction(made[-1], tuple(made[:-1]))
