"""The residual-encoder U-Net of nnU-Net, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.arguments import divisor_of, level_geometry, per_level
from medseg.networks.blocks import (
    CONV,
    TRANSPOSED,
    Block,
    ConvUnit,
    crop_to,
    init_weights,
    pad_to_divisor,
)
from medseg.networks.output import Prediction

WIDEST = {2: 512, 3: 320}
BLOCKS = (1, 3, 4)
"""Blocks of the first stages in nnU-Net's presets; every further one has 6."""


class ResEncUNet(nn.Module):
    """Residual-encoder U-Net [1]_: a deep encoder of residual blocks, a light plain decoder.

    A stem convolution at full resolution, then 1, 3, 4, 6, 6, 6, ... blocks of two convolutions
    per stage, the first of each strided, its shortcut average-pooled and projected by a 1x1
    convolution where the width changes [2]_. The decoder has a transposed convolution whose kernel
    is its stride, as nnU-Net defines it, and one convolution per stage.

    nnU-Net's presets M, L and XL are this one network; they differ in the memory (and so the patch
    and batch size) that they plan for, and in the number of stages that the patch allows. The
    widths start at 32, double, and stop at 512 in 2-D and 320 in 3-D. Six stages have 71.8 M
    parameters in 2-D and 102.3 M in 3-D, those of nnU-Net's own code but for biases that the
    normalisation takes away and the head of the coarsest stage.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int, optional
        Feature channels of each stage, finest first. Default: six stages, as above.
    blocks : int or sequence of int, optional
        Residual blocks per stage. Default: 1, 3, 4, then 6s.
    decoder_convs : int or sequence of int
        Convolutions per decoder stage, finest first, one entry less than stages.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Per stage and axis; the first stride is 1. Default: 1, then 2s; kernels of 3.
    norm : {"instance", "batch", "group", "none"}
        Normalisation after each convolution.
    deep_supervision : bool
        In training, also return logits of the coarser decoder stages but the coarsest one (whose
        weight is 0 in nnU-Net).
    zero_init : bool
        Start every residual block as its shortcut, its last normalisation at 0, as
        nnU-Net does.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Isensee et al., nnU-Net revisited, MICCAI 2024.
    .. [2] He et al., Bag of tricks for image classification, CVPR 2019, section 4.

    Examples
    --------
    >>> import torch
    >>> net = ResEncUNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 8))
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 2, 9, 6])
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] | None = None,
        blocks: int | Sequence[int] | None = None,
        decoder_convs: int | Sequence[int] = 1,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: str = "instance",
        deep_supervision: bool = True,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        self.ndim = ndim
        if widths is None:
            widths = tuple(min(32 * 2**i, WIDEST[ndim]) for i in range(6))
        levels = len(widths)
        steps, kernels = level_geometry(widths, strides, kernel_sizes, ndim)
        self.divisor = divisor_of(steps)
        usual = (*BLOCKS, *(6 for _ in widths))[:levels]
        down = per_level(usual if blocks is None else blocks, levels, "network.arguments.blocks")
        up = per_level(decoder_convs, levels - 1, "network.arguments.decoder_convs")
        self.stem = ConvUnit(
            ndim, in_channels, widths[0], kernel=kernels[0], stride=(1,) * ndim, norm=norm
        )
        self.encoder, self.decoder, self.ups = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = (widths[0], *widths)
        for i, width in enumerate(widths):
            self.encoder.append(
                _residual(ndim, before[i], width, down[i], kernels[i], steps[i], norm)
            )
        for i, width in enumerate(widths[:-1]):  # finest first, like the encoder
            step = steps[i + 1]
            self.ups.append(TRANSPOSED[ndim](widths[i + 1], width, step, step))  # type: ignore[arg-type]
            self.decoder.append(_plain(ndim, 2 * width, width, up[i], kernels[i], norm))
        heads = max(1, levels - 2) if deep_supervision else 1
        self.heads = nn.ModuleList(CONV[ndim](w, num_classes, 1) for w in widths[:heads])
        self.apply(init_weights)
        if zero_init and norm != "none":
            self.apply(_start_as_shortcut)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = self.stem(pad_to_divisor(image, self.divisor))
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        maps = [skips.pop()]  # coarsest first
        for level in reversed(range(len(self.decoder))):
            x = torch.cat((self.ups[level](maps[-1]), skips[level]), dim=1)
            maps.append(self.decoder[level](x))
        full = crop_to(self.heads[0](maps[-1]), image.shape[2:])
        if self.training and len(self.heads) > 1:
            finer = reversed(maps[:-1])
            aux = tuple(head(x) for head, x in zip(self.heads[1:], finer, strict=False))
            return Prediction(full, aux)
        return full


def _residual(
    ndim: int,
    channels: int,
    width: int,
    count: int,
    kernel: tuple[int, ...],
    step: tuple[int, ...],
    norm: str,
) -> nn.Sequential:
    """Return the blocks of one encoder stage, the first of them strided."""
    row = [Block(ndim, channels, width, kernel=kernel, stride=step, norm=norm, residual=True)]
    one = (1,) * ndim
    for _ in range(count - 1):
        row.append(Block(ndim, width, width, kernel=kernel, stride=one, norm=norm, residual=True))
    return nn.Sequential(*row)


def _plain(
    ndim: int, channels: int, width: int, count: int, kernel: tuple[int, ...], norm: str
) -> nn.Sequential:
    """Return the convolutions of one decoder stage."""
    inputs = (channels, *(width for _ in range(count - 1)))
    one = (1,) * ndim
    return nn.Sequential(
        *(ConvUnit(ndim, c, width, kernel=kernel, stride=one, norm=norm) for c in inputs)
    )


def _start_as_shortcut(module: nn.Module) -> None:
    """Set the scale of a residual block's last normalisation to 0."""
    if isinstance(module, Block):
        nn.init.zeros_(module.second[1].weight)  # type: ignore[arg-type]
