"""TransUNet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import divisor_of, level_axes, per_axis
from medseg.networks.blocks import CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.encoders.vit import GRIDS
from medseg.networks.layers import MAX_POOL, ConvNormAct, conv_units, resize
from medseg.networks.standard_blocks import StandardBottleneck, standard_unit
from medseg.networks.transformer import Layer, Positions, init_linear, to_map, to_tokens


class TransUNet(nn.Module):
    """A ResNet's third stage as tokens of a transformer, and a U-Net's way up with its skips [1]_.

    ResNet-50 of three stages (3, 4 and 9 blocks) with weight standardisation and group norm, ViT-B
    on a sixteenth of the resolution, four doublings. 105.3 M parameters with 9 classes and 3
    channels in 2-D with 14 x 14 positions (the paper prints no count: unverified).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    first : int
        Channels of the first convolution; the stages have 4, 8, 16 times as many.
    blocks : sequence of int
        Of each stage of the ResNet.
    embed_dim, depth, heads : int
        Channels, layers and attention heads of the transformer.
    grid : int or sequence of int, optional
        Places per axis with a position of their own (interpolated for images of another size).
        Default: 14 in 2-D and 6 in 3-D.
    decoder_channels : sequence of int
        Coarsest first, one per stride.
    strides : sequence of (int or tuple of int), optional
        Of the first convolution, the pooling, and the stages but the first, per axis; default 2.
        An axis with stride 1 everywhere gets kernels of 1.
    norm : {"batch", "instance", "group", "none"}
        Of the way up.
    dropout : float
        Probability for a channel of a token.

    References
    ----------
    .. [1] Chen et al., TransUNet: transformers make strong encoders for medical image
       segmentation, arXiv 2102.04306, 2021.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        first: int = 64,
        blocks: Sequence[int] = (3, 4, 9),
        embed_dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        grid: int | Sequence[int] | None = None,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        strides: Sequence[int | Sequence[int]] | None = None,
        norm: str = "batch",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.ndim = ndim
        levels = len(blocks) + 1
        if len(decoder_channels) != levels:
            raise ConfigError(
                f"network.arguments.decoder_channels has {len(decoder_channels)} entries for "
                f"{levels} strides; give one each"
            )
        steps = level_axes(strides, (2,) * levels, ndim, levels, "strides")
        self.divisor = divisor_of(steps)
        kernel = tuple(3 if d > 1 else 1 for d in self.divisor)
        window = tuple(3 if s > 1 else 1 for s in steps[1])
        start = tuple(7 if d > 1 else 1 for d in self.divisor)
        self.stem = standard_unit(ndim, in_channels, first, start, steps[0])
        self.pool = MAX_POOL[ndim](window, steps[1], tuple(k // 2 for k in window))
        self.stages = nn.ModuleList()
        channels, widths = first, [first]
        for i, count in enumerate(blocks):
            step, inner = (1,) * ndim if i == 0 else steps[i + 1], first * 2**i
            stage = nn.Sequential()
            for j in range(count):
                here = step if j == 0 else (1,) * ndim
                stage.append(StandardBottleneck(ndim, channels, inner, kernel, here))
                channels = 4 * inner
            self.stages.append(stage)
            widths.append(channels)
        places = per_axis(GRIDS[ndim] if grid is None else grid, ndim, "network.arguments.grid")
        self.embed = CONV[ndim](channels, embed_dim, 1)
        self.positions = Positions(embed_dim, places)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *(Layer(embed_dim, heads) for _ in range(depth)), nn.LayerNorm(embed_dim, eps=1e-6)
        )
        wide = 8 * first
        self.bridge = ConvNormAct(ndim, embed_dim, wide, kernel=kernel, norm=norm)
        self.ups = nn.ModuleList()
        for made, skip in zip(decoder_channels, (*widths[-2::-1], 0), strict=True):
            units = conv_units(ndim, wide + skip, made, 2, kernel=kernel, norm=norm)
            self.ups.append(nn.Sequential(*units))
            wide = made
        margin = tuple(k // 2 for k in kernel)
        self.head = CONV[ndim](wide, num_classes, kernel, padding=margin)  # type: ignore[arg-type]
        self.apply(init_weights)
        self.layers.apply(init_linear)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        skips = [padded, self.stem(padded)]  # of the first only the size counts
        x = self.pool(skips[-1])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.embed(skips.pop())
        sizes = x.shape[2:]
        tokens = self.drop(to_tokens(x + self.positions(sizes).to(x.dtype)))
        x = self.bridge(to_map(self.layers(tokens), sizes))
        for level, up in enumerate(self.ups):
            skip = skips[-1 - level]
            x = resize(x, skip.shape[2:])
            x = up(x if skip is padded else torch.cat((x, skip), dim=1))
        return crop_to(self.head(x), image.shape[2:])
