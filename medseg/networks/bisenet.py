"""BiSeNet in 2-D and 3-D."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import FCNHead
from medseg.networks.layers import ConvNormAct, PooledUnit, resize, scaled


class BiSeNet(EncoderNetwork):
    """A shallow path for detail beside a deep one for context, fused at an eighth [1]_.

    13.28 M parameters with 19 classes in 2-D, without the two auxiliary heads, whose weight is 1.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        Of the context path: a key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies all channels.
    norm : {"instance", "batch", "group", "none"}
        Of all but what is pooled to single values.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of heads on the two refined maps of the context path.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ...

    References
    ----------
    .. [1] Yu et al., BiSeNet: bilateral segmentation network for real-time semantic segmentation,
       ECCV 2018.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet18",
        width: float = 1.0,
        norm: str = "batch",
        dropout: float = 0.1,
        auxiliary: bool = True,
        **encoder_arguments: Any,
    ) -> None:
        context = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            **encoder_arguments,
        )
        paths = TwoPaths(context, ndim=ndim, in_channels=in_channels, width=width, norm=norm)
        heads = [
            FCNHead(
                paths,
                num_classes,
                ndim=ndim,
                level=level,
                channels=scaled(channels, width),
                convs=1,
                concat=False,
                norm=norm,
                dropout=dropout,
            )
            for level, channels in ((2, 256), (0, 64), (1, 64))
        ]
        super().__init__(paths, heads[0], heads[1:] if auxiliary else [])
        self.ndim = ndim


class TwoPaths(Encoder):
    """Both paths and their fusion; three maps: two of the context path, and the fused one.

    Parameters
    ----------
    context : Encoder
        Its last two maps are refined, and brought to the size of the one before them.
    ndim, in_channels : int
        Axes and channels of the image.
    width : float
    norm : str
    """

    def __init__(
        self, context: Encoder, *, ndim: int, in_channels: int, width: float, norm: str
    ) -> None:
        super().__init__()
        narrow, wide, one = scaled(64, width), scaled(128, width), (1,) * ndim
        kernel = context.kernel
        steps = [
            tuple(c // f for c, f in zip(coarse, fine, strict=True))
            for fine, coarse in zip((one, *context.strides), context.strides[:3], strict=False)
        ]
        first = tuple(7 if k > 1 else 1 for k in kernel)
        self.spatial = nn.Sequential(
            ConvNormAct(ndim, in_channels, narrow, kernel=first, stride=steps[0], norm=norm),
            ConvNormAct(ndim, narrow, narrow, kernel=kernel, stride=steps[1], norm=norm),
            ConvNormAct(ndim, narrow, narrow, kernel=kernel, stride=steps[2], norm=norm),
            ConvNormAct(ndim, narrow, wide, kernel=one, norm=norm),
        )
        self.context = context
        coarse, coarsest = context.channels[-2:]
        self.whole = PooledUnit(ndim, coarsest, wide, bins=1)
        self.refine = nn.ModuleList(_Gated(ndim, c, wide, kernel, norm) for c in (coarse, coarsest))
        self.smooth = nn.ModuleList(
            ConvNormAct(ndim, wide, wide, kernel=kernel, norm=norm) for _ in range(2)
        )
        self.fuse = ConvNormAct(ndim, 2 * wide, 2 * wide, kernel=one, norm=norm)
        self.gate = PooledUnit(ndim, 2 * wide, 2 * wide, bins=1, activation=nn.Sigmoid)
        self.channels = (wide, wide, 2 * wide)
        self.strides = (context.strides[2], context.strides[3], context.strides[2])
        self.kernel = kernel
        for part in (self.spatial, self.whole, self.refine, self.smooth, self.fuse, self.gate):
            part.apply(init_weights)

    @property
    def divisor(self) -> tuple[int, ...]:
        """That of the context path."""
        return self.context.divisor

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to maps at an eighth, a sixteenth and an eighth."""
        *_, eighth, coarse, coarsest = self.context(image)
        x = self.refine[1](coarsest) + self.whole(coarsest)
        low = self.smooth[1](resize(x, coarse.shape[2:]))
        high = self.smooth[0](resize(self.refine[0](coarse) + low, eighth.shape[2:]))
        both = self.fuse(torch.cat((self.spatial(image), high), dim=1))  # feature fusion module
        return [high, low, both + both * self.gate(both)]


class _Gated(nn.Module):
    """Attention refinement module: a convolution whose channels are gated by their means."""

    def __init__(
        self, ndim: int, channels: int, width: int, kernel: tuple[int, ...], norm: str
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(ndim, channels, width, kernel=kernel, norm=norm)
        self.gate = PooledUnit(ndim, width, width, bins=1, activation=nn.Sigmoid)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial)."""
        y: Tensor = self.conv(x)
        out: Tensor = y * self.gate(y)
        return out
