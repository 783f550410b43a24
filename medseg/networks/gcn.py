"""Global convolutional network in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import init_weights
from medseg.networks.context.large_kernel import BoundaryRefine, LargeKernel
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.interpolating import interpolating


class GCN(PyramidNetwork):
    """Large kernels, made of strips, classify each level; the edges are refined on the way up [1]_.

    60.72 M parameters with 21 classes in 2-D on ResNet-152, of which the encoder has 58.14
    (unverified against the paper). In d dimensions a large kernel is the sum of d rows of d
    strips, each row beginning along another axis.

    Parameters
    ----------
    large_kernel : int
        Odd length of the strips.
    encoder, **arguments
        Of `medseg.networks.headed.PyramidNetwork`; score maps have as many channels as there are
        classes, and no norm.

    References
    ----------
    .. [1] Peng et al., Large kernel matters: improve semantic segmentation by global convolutional
       network, CVPR 2017, figure 2.
    """

    def __init__(
        self, *, encoder: str = "resnet152", large_kernel: int = 15, **arguments: Any
    ) -> None:
        if large_kernel < 1 or large_kernel % 2 == 0:
            raise ConfigError(
                f"network.arguments.large_kernel is {large_kernel}; give an odd length"
            )
        super().__init__(partial(_Head, length=large_kernel), encoder=encoder, **arguments)


class _Head(nn.Module):
    """Scores of every level, refined, summed with the coarser ones and refined again."""

    def __init__(
        self, encoder: Encoder, num_classes: int, *, ndim: int, length: int, **_: Any
    ) -> None:
        super().__init__()
        kernel = encoder.kernel
        long = tuple(length if k > 1 else 1 for k in kernel)
        self.scores = nn.ModuleList(
            nn.Sequential(
                LargeKernel(ndim, c, num_classes, long), BoundaryRefine(ndim, num_classes, kernel)
            )
            for c in encoder.channels[1:]
        )
        self.refine = nn.ModuleList(
            BoundaryRefine(ndim, num_classes, kernel) for _ in encoder.channels
        )
        self.apply(init_weights)
        strides = ((1,) * ndim, *encoder.strides)
        self.ups = nn.ModuleList(  # up to the image, and to each map but the coarsest
            interpolating(
                ndim, num_classes, tuple(c // f for f, c in zip(fine, coarse, strict=True))
            )
            for fine, coarse in pairwise(strides)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the image."""
        scores = [f(x) for f, x in zip(self.scores, maps[1:], strict=True)]
        x = scores[-1]
        for level in reversed(range(len(maps))):  # of the map that x is brought to, and beyond it
            x = self.ups[level](x)
            if level > 1:
                x = x + scores[level - 2]
            x = self.refine[level](x)
        logits: Tensor = x
        return logits
