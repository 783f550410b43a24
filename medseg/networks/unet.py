"""U-Net in 2-D and 3-D: plain or residual blocks, deep supervision, thin full-resolution level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.arguments import divisor_of, level_geometry, per_level
from medseg.networks.blocks import (
    CONV,
    UP_CONV,
    Block,
    ConvUnit,
    crop_to,
    init_weights,
    pad_to_divisor,
)
from medseg.networks.output import Prediction


class UNet(nn.Module):
    """U-Net [1]_ with the blocks of nnU-Net [2]_, plain or residual [3]_.

    Level 0 is the full resolution. Each further level halves (or strides otherwise) the one above;
    the last level is the bottleneck. Any input size is padded to `divisor` and cropped back.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first; their number is the number of levels.
    strides : sequence of (int or tuple of int), optional
        How each level is smaller than the one above, per level and axis; the first entry is 1.
        An axis that is thin or coarse gets 1 where it is not to shrink. Default: 1, then 2s.
    kernel_sizes : sequence of (int or tuple of int), optional
        Odd kernel per level and axis. Default: 3 everywhere.
    blocks, decoder_blocks : int or sequence of int
        Blocks of two convolutions per level on the way down (one per level) and up (one per level
        but the last).
    residual : bool
        Add each block's input to its output.
    norm : {"instance", "batch", "group", "none"}
        Normalisation after each convolution.
    deep_supervision : bool
        In training, also return logits of the coarser decoder levels but the coarsest one (whose
        weight is 0 in [2]_).
    thin : bool
        Replace the blocks of level 0 by one convolution on each side: full resolution is where the
        time goes, so give it few channels and little work.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Ronneberger et al., U-Net, MICCAI 2015.
    .. [2] Isensee et al., nnU-Net, Nature Methods 18, 2021.
    .. [3] Isensee et al., nnU-Net revisited, MICCAI 2024 (the residual encoder).

    Examples
    --------
    >>> import torch
    >>> net = UNet(ndim=3, in_channels=1, num_classes=2, widths=(4, 8), strides=(1, (1, 2, 2)))
    >>> net.divisor
    (1, 2, 2)
    >>> net.eval()(torch.zeros(1, 1, 3, 8, 7)).shape
    torch.Size([1, 2, 3, 8, 7])
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        blocks: int | Sequence[int] = 1,
        decoder_blocks: int | Sequence[int] = 1,
        residual: bool = False,
        norm: str = "instance",
        deep_supervision: bool = True,
        thin: bool = False,
    ) -> None:
        super().__init__()
        self.ndim = ndim
        levels = len(widths)
        steps, kernels = level_geometry(widths, strides, kernel_sizes, ndim)
        self.divisor = divisor_of(steps)
        self.encoder = nn.ModuleList()
        down = per_level(blocks, levels, "blocks")
        up = per_level(decoder_blocks, levels - 1, "decoder_blocks")
        channels = in_channels
        for level, width in enumerate(widths):
            self.encoder.append(
                _stage(
                    ndim,
                    channels,
                    width,
                    count=down[level],
                    kernel=kernels[level],
                    stride=steps[level],
                    norm=norm,
                    residual=residual,
                    single=thin and level == 0,
                )
            )
            channels = width
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(levels - 1):  # kept finest first, like the encoder
            step = steps[level + 1]
            self.ups.append(UP_CONV[ndim](widths[level + 1], widths[level], step, step))  # type: ignore[arg-type]
            self.decoder.append(
                _stage(
                    ndim,
                    2 * widths[level],
                    widths[level],
                    count=up[level],
                    kernel=kernels[level],
                    stride=(1,) * ndim,
                    norm=norm,
                    residual=residual,
                    single=thin and level == 0,
                )
            )
        heads = max(1, levels - 2) if deep_supervision else 1
        self.heads = nn.ModuleList(CONV[ndim](w, num_classes, 1) for w in widths[:heads])
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = pad_to_divisor(image, self.divisor)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        logits: list[Tensor] = []  # coarsest first
        x = skips.pop()
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat((self.ups[level](x), skips.pop()), dim=1))
            if level == 0 or (self.training and level < len(self.heads)):
                logits.append(self.heads[level](x))
        if not self.decoder:
            logits.append(self.heads[0](x))
        full = crop_to(logits[-1], image.shape[2:])
        if self.training and len(logits) > 1:
            return Prediction(full, tuple(reversed(logits[:-1])))
        return full


def _stage(
    ndim: int,
    channels: int,
    width: int,
    *,
    count: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    norm: str,
    residual: bool,
    single: bool,
) -> nn.Sequential:
    """Return the blocks of one level; ``single`` is one convolution instead."""
    if single:
        unit = ConvUnit(ndim, channels, width, kernel=kernel, stride=stride, norm=norm)
        return nn.Sequential(unit)
    stages = [
        Block(
            ndim,
            channels if i == 0 else width,
            width,
            kernel=kernel,
            stride=stride if i == 0 else (1,) * ndim,
            norm=norm,
            residual=residual,
        )
        for i in range(count)
    ]
    return nn.Sequential(*stages)
