"""Mix Transformer (MiT) as an encoder of any network on a pyramid, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from medseg.networks.arguments import level_axes
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Axes, Encoder, dilate, running_product
from medseg.networks.layers import ConvNormAct, scaled
from medseg.networks.mit import MiT

_WIDE = (64, 128, 320, 512)
MITS: Mapping[str, Mapping[str, Any]] = {
    "mit_b0": {"widths": (32, 64, 160, 256), "depths": (2, 2, 2, 2)},
    "mit_b1": {"widths": _WIDE, "depths": (2, 2, 2, 2)},
    "mit_b2": {"widths": _WIDE, "depths": (3, 4, 6, 3)},
    "mit_b3": {"widths": _WIDE, "depths": (3, 4, 18, 3)},
    "mit_b4": {"widths": _WIDE, "depths": (3, 8, 27, 3)},
    "mit_b5": {"widths": _WIDE, "depths": (3, 6, 40, 3)},
}
"""The forms of the paper (table 6)."""


class MixTransformer(Encoder):
    """The four maps of a MiT [1]_ and, beside it, one convolution's at half the resolution.

    Decoders here expect that first map, which a MiT does not make.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    widths, depths, heads : sequence of int
        Channels, blocks and attention heads of each stage.
    width : float
        Multiplies all channels.
    strides : sequence of (int or tuple of int), optional
        Five entries, per axis where wanted: the convolution's, then what is left for the first
        stage, and those of the others; default 2.
    output_stride : int or sequence of int, optional
        Strides beyond it become 1; attention sees the whole map as before.
    norm : {"instance", "batch", "group", "none"}
        Of the convolution; a MiT has layer norms.
    drop_path : float
        Probability to skip a branch in training, growing to this at the end.

    References
    ----------
    .. [1] Xie et al., SegFormer: simple and efficient design for semantic segmentation with
       transformers, NeurIPS 2021, section 3.1.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int] = (1, 2, 5, 8),
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "batch",
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        steps, _ = dilate(level_axes(strides, (2,) * 5, ndim, 5, "strides"), output_stride)
        self.strides = running_product(steps)
        self.kernel = tuple(3 if s > 1 else 1 for s in self.strides[-1])
        wide = tuple(scaled(w, width) for w in widths)
        half = max(1, wide[0] // 2)
        self.stem = ConvNormAct(
            ndim, in_channels, half, kernel=self.kernel, stride=steps[0], norm=norm
        )
        self.stem.apply(init_weights)
        self.mit = MiT(
            ndim=ndim,
            in_channels=in_channels,
            widths=wide,
            depths=depths,
            heads=heads,
            strides=(self.strides[1], *steps[2:]),
            reductions=[tuple(r if k > 1 else 1 for k in self.kernel) for r in (8, 4, 2, 1)],
            drop_path=drop_path,
        )
        self.channels = (half, *wide)

    @property
    def divisor(self) -> Axes:
        """That of the MiT, whose reductions divide its maps."""
        return self.mit.divisor

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to five maps, fine to coarse."""
        return [self.stem(image), *self.mit(image)]
