"""DeepLab v2 in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.layers import resize
from medseg.networks.output import Prediction


class DeepLabV2(PyramidNetwork):
    """Dilated classifiers of several rates, summed, on a dilated ResNet-101 [1]_.

    44.05 M parameters with 21 classes in 2-D. The conditional random field of the paper comes
    after the network.

    Parameters
    ----------
    encoder, **arguments
        Of `medseg.networks.headed.PyramidNetwork`.
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    rates : sequence of int
        Of the classifiers: ASPP-L. A rate that reaches past the map sees padding alone.
    scales : sequence of float
        The image is seen at each of these scales, and the largest logit counts; (0.5, 0.75, 1) in
        the paper. In training the logits of each scale are returned too.

    References
    ----------
    .. [1] Chen et al., DeepLab: semantic image segmentation with deep convolutional nets, atrous
       convolution and fully connected CRFs, TPAMI 40(4), 2018, section 3.
    """

    def __init__(
        self,
        *,
        encoder: str = "resnet101",
        output_stride: int | Sequence[int] | None = 8,
        rates: Sequence[int] = (6, 12, 18, 24),
        scales: Sequence[float] = (1.0,),
        **arguments: Any,
    ) -> None:
        if not scales or min(scales) <= 0:
            raise ConfigError(
                f"network.arguments.scales: {scales!r} must be positive numbers, at least one"
            )
        make = partial(_Head, rates=rates)
        super().__init__(make, encoder=encoder, output_stride=output_stride, **arguments)
        self.scales = tuple(scales)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        seen = []
        for scale in self.scales:
            small = resize(image, [max(1, round(n * scale)) for n in image.shape[2:]])
            logits = super().forward(small)
            assert isinstance(logits, Tensor)  # there are no auxiliary heads
            seen.append(resize(logits, image.shape[2:]))
        fused = torch.stack(seen).amax(0)
        if self.training and len(seen) > 1:  # each scale is supervised as the fusion is
            return Prediction(fused, tuple(seen), aux_weights=(1.0,) * len(seen))
        return fused


class _Head(nn.Module):
    """The sum of one dilated classifier for each rate: ASPP-L."""

    def __init__(
        self, encoder: Encoder, num_classes: int, *, ndim: int, rates: Sequence[int], **_: Any
    ) -> None:
        super().__init__()
        given, kernel = encoder.channels[-1], encoder.kernel
        margins = [tuple(rate * (k // 2) for k in kernel) for rate in rates]
        self.classify = nn.ModuleList(
            CONV[ndim](given, num_classes, kernel, 1, margin, rate)  # type: ignore[arg-type]
            for rate, margin in zip(rates, margins, strict=True)
        )
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the coarsest map."""
        return torch.stack([f(maps[-1]) for f in self.classify]).sum(0)
