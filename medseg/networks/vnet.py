"""V-Net in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.arguments import per_level
from medseg.networks.blocks import (
    CONV,
    TRANSPOSED,
    crop_to,
    init_weights,
    make_norm,
    pad_to_divisor,
    same_conv,
)
from medseg.networks.levels import LevelNetwork


class VNet(LevelNetwork):
    """V-Net [1]_: stages of 5^3 convolutions, each with its input added, PReLU throughout.

    The defaults are the paper's, and normalisation, which the paper does without, is an option
    that is on. MONAI's variant (45.60 M parameters in 3-D, 9.36 M in 2-D) has
    ``convs=(1, 1, 2, 3, 2), decoder_convs=(1, 1, 2, 2)`` and batch normalisation.

    Parameters
    ----------
    widths, **arguments
        Of `medseg.networks.levels.LevelNetwork`, with kernels of 5; each width is twice the one
        before in [1]_.
    convs, decoder_convs : int or sequence of int, optional
        Convolutions per level on the way down, and up (one entry per level but the last, finest
        first). Default: the paper's 1, 2, 3, 3, 3 and 1, 2, 3, 3.

    References
    ----------
    .. [1] Milletari, Navab and Ahmadi, V-Net: fully convolutional neural networks for volumetric
       medical image segmentation, 3DV 2016, figure 2.

    Examples
    --------
    >>> import torch
    >>> net = VNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 8), convs=1, decoder_convs=1)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    side: ClassVar[int] = 5

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        convs: int | Sequence[int] | None = None,
        decoder_convs: int | Sequence[int] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, **arguments)
        ndim, steps, kernels, norm = self.ndim, self.steps, self.kernels, self.norm
        levels = len(widths)
        paper = (1, 2, *(3,) * levels)
        down = per_level(
            paper[:levels] if convs is None else convs, levels, "network.arguments.convs"
        )
        upwards = paper[: levels - 1] if decoder_convs is None else decoder_convs
        up = per_level(upwards, levels - 1, "network.arguments.decoder_convs")
        one = (1,) * ndim
        bias = norm == "none"
        self.stem = nn.Sequential(
            same_conv(ndim, self.in_channels, widths[0], kernels[0], one, bias=bias),
            make_norm(norm, ndim, widths[0]),
        )
        self.stem_stage = _Stage(ndim, widths[0], down[0] - 1, kernels[0], norm)
        self.downs, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(1, levels):
            above, width, step = widths[level - 1], widths[level], steps[level]
            self.downs.append(_change(CONV[ndim], ndim, above, width, step, norm))
            self.encoder.append(_Stage(ndim, width, down[level], kernels[level], norm))
        for level in range(levels - 1):  # kept finest first, like the encoder
            below, width, step = widths[level + 1], widths[level], steps[level + 1]
            coarse = below if level == levels - 2 else 2 * below  # a decoder stage is that wide
            self.ups.append(_change(TRANSPOSED[ndim], ndim, coarse, width, step, norm))
            self.decoder.append(_Stage(ndim, 2 * width, up[level], kernels[level], norm))
        self.head = CONV[ndim](2 * widths[0] if levels > 1 else widths[0], self.num_classes, 1)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        stem = self.stem(padded)
        if padded.shape[1] in (1, stem.shape[1]):  # one channel is repeated; others cannot be added
            stem = stem + padded
        x = self.stem_stage(stem)
        skips = [x]
        for down, stage in zip(self.downs, self.encoder, strict=True):
            x = stage(down(x))
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat((self.ups[level](x), skips[level]), dim=1))
        return crop_to(self.head(x), image.shape[2:])


class _Stage(nn.Module):
    """A row of convolutions to which the stage's input is added before the last activation."""

    def __init__(
        self, ndim: int, width: int, count: int, kernel: tuple[int, ...], norm: str
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(count):
            if i > 0:
                layers.append(nn.PReLU(width))
            layers.append(same_conv(ndim, width, width, kernel, (1,) * ndim, bias=norm == "none"))
            layers.append(make_norm(norm, ndim, width))
        self.layers = nn.Sequential(*layers)
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = self.activation(x + self.layers(x) if len(self.layers) else x)
        return out


def _change(
    conv: type[nn.Module], ndim: int, channels: int, width: int, step: tuple[int, ...], norm: str
) -> nn.Sequential:
    """Return the convolution between two levels, whose kernel is its stride."""
    return nn.Sequential(
        conv(channels, width, step, step, bias=norm == "none"),
        make_norm(norm, ndim, width),
        nn.PReLU(width),
    )
