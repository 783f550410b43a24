"""LinkNet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.networks.arguments import check_levels, odd_kernel, per_level
from medseg.networks.blocks import crop_to, init_weights, make_norm, pad_to_divisor
from medseg.networks.layers import MAX_POOL
from medseg.networks.link_blocks import ResidualUnit, conv_norm, up_block
from medseg.networks.stepped import SteppedNetwork
from medseg.networks.unpooling import make_upsampling


class LinkNet(SteppedNetwork):
    """LinkNet [1]_: ResNet-18 down; on the way up each level's input is added, not concatenated.

    With 19 classes and 3 channels in 2-D it has 11.54 M parameters (the paper says 11.5; unverified
    by a build of its authors' code). Upsampling is by interpolation unless asked for otherwise.

    Parameters
    ----------
    widths : sequence of int
        Feature channels of each encoder stage, finest first.
    blocks : int or sequence of int
        Residual blocks per stage; 2 is ResNet-18, (3, 4, 6, 3) is ResNet-34.
    first_kernel : int or tuple of int
        Odd sides of the first convolution.
    upsampling : {"resize", "transposed"}
        Interpolation and a convolution, or the paper's transposed convolution of as many weights.
    **arguments
        Of `medseg.networks.stepped.SteppedNetwork`; steps are those of the first convolution, the
        pooling, and the stages but the first.

    References
    ----------
    .. [1] Chaurasia and Culurciello, LinkNet: exploiting encoder representations for efficient
       semantic segmentation, VCIP 2017, figures 1 to 3.

    Examples
    --------
    >>> import torch
    >>> net = LinkNet(ndim=2, in_channels=1, num_classes=3, widths=(8, 16), blocks=1)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: int | Sequence[int] = 2,
        first_kernel: int | Sequence[int] = 7,
        upsampling: str = "resize",
        **arguments: Any,
    ) -> None:
        levels = check_levels(widths)
        counts = per_level(blocks, levels, "network.arguments.blocks")
        super().__init__(levels + 1, **arguments)
        ndim, steps, kernel, norm = self.ndim, self.strides, self.kernel, self.norm
        one = (1,) * ndim
        start = odd_kernel(first_kernel, ndim)
        self.stem = nn.Sequential(
            *conv_norm(ndim, self.in_channels, widths[0], start, steps[0], norm),
            nn.ReLU(),
            MAX_POOL[ndim](kernel, steps[1], tuple(k // 2 for k in kernel)),
        )
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()  # both finest first
        above = widths[0]
        for width, count, step in zip(widths, counts, (one, *steps[2:]), strict=True):
            stage = [ResidualUnit(ndim, above, width, kernel, step, norm)]
            stage += [ResidualUnit(ndim, width, width, kernel, one, norm) for _ in range(count - 1)]
            self.encoder.append(nn.Sequential(*stage))
            self.decoder.append(up_block(ndim, width, above, kernel, step, norm, upsampling))
            above = width
        first, half = widths[0], max(1, widths[0] // 2)
        self.grow = nn.Sequential(
            make_upsampling(
                upsampling, ndim, first, half, kernel=kernel, step=steps[1], bias=norm == "none"
            ),
            make_norm(norm, ndim, half),
            nn.ReLU(),
            *conv_norm(ndim, half, half, kernel, one, norm),
            nn.ReLU(),
        )
        self.head = make_upsampling(
            upsampling, ndim, half, self.num_classes, kernel=kernel, step=steps[0], bias=True
        )
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = self.stem(pad_to_divisor(image, self.divisor))
        links = []
        for stage in self.encoder:
            links.append(x)
            x = stage(x)
        for level in reversed(range(1, len(links))):
            x = self.decoder[level](x) + links[level]
        return crop_to(self.head(self.grow(self.decoder[0](x))), image.shape[2:])
