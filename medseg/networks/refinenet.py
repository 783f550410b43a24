"""RefineNet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from medseg.networks.blocks import CONV
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.layers import DROPOUT, scaled
from medseg.networks.refine_blocks import RefineBlock, conv_norm, start_small


class RefineNet(PyramidNetwork):
    """Four cascaded blocks refine the coarse map with the finer ones of a ResNet [1]_.

    118 M parameters in 2-D on ResNet-101, as the paper's authors' form has it: two residual units
    at each input, three at each output, four poolings in a chain, 3x3 convolutions without bias
    between the blocks.

    Parameters
    ----------
    channels : (int, int)
        Of the coarsest block and of the others, before ``width``.
    pools : int
        In each chain.
    head_norm : {"instance", "batch", "group", "none"}
        Of the convolutions of the blocks; the paper has none there and begins with a trained
        encoder.
    dropout : float
        Probability for a whole channel before the two coarsest blocks and the logits.
    encoder, **arguments
        Of `medseg.networks.headed.PyramidNetwork`; ``norm`` is the encoder's.

    References
    ----------
    .. [1] Lin et al., RefineNet: multi-path refinement networks for high-resolution semantic
       segmentation, CVPR 2017, figures 2 and 3.
    """

    def __init__(
        self,
        *,
        encoder: str = "resnet101",
        channels: Sequence[int] = (512, 256),
        pools: int = 4,
        head_norm: str = "none",
        dropout: float = 0.5,
        **arguments: Any,
    ) -> None:
        make = partial(_Head, channels=channels, pools=pools, head_norm=head_norm, dropout=dropout)
        super().__init__(make, encoder=encoder, **arguments)


class _Head(nn.Module):
    """The cascade, coarsest first, and logits from its last map."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        channels: Sequence[int],
        pools: int,
        head_norm: str,
        dropout: float,
        **_: Any,
    ) -> None:
        super().__init__()
        kernel, given = encoder.kernel, encoder.channels[:0:-1]  # coarsest first
        coarse, fine = (scaled(c, width) for c in channels)
        widths = (coarse, *(fine,) * (len(given) - 1))
        self.reduce = nn.ModuleList(
            conv_norm(ndim, c, w, kernel, head_norm) for c, w in zip(given, widths, strict=True)
        )
        self.drop = nn.ModuleList(
            DROPOUT[ndim](dropout if i < 2 else 0.0) for i in range(len(given))
        )
        self.blocks = nn.ModuleList(
            RefineBlock(ndim, w, widths[i - 1] if i else 0, kernel, pools, head_norm)
            for i, w in enumerate(widths)
        )
        margin = tuple(k // 2 for k in kernel)
        self.classify = nn.Sequential(
            DROPOUT[ndim](dropout),
            CONV[ndim](fine, num_classes, kernel, padding=margin),  # type: ignore[arg-type]
        )
        self.apply(start_small)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        below = None
        levels = zip(self.reduce, self.drop, self.blocks, maps[:0:-1], strict=True)
        for reduce, drop, block, x in levels:
            below = block(reduce(drop(x)), below)
        logits: Tensor = self.classify(below)
        return logits
