"""LinkNet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.arguments import check_levels, divisor_of, odd_kernel, per_level, window_steps
from medseg.networks.blocks import crop_to, init_weights, make_norm, pad_to_divisor, same_conv
from medseg.networks.layers import MAX_POOL
from medseg.networks.unpooling import make_upsampling


class LinkNet(nn.Module):
    """LinkNet [1]_: ResNet-18 down; on the way up each level's input is added, not concatenated.

    With 19 classes and 3 channels in 2-D it has 11.54 M parameters (the paper says 11.5; unverified
    by a build of its authors' code). Upsampling is by interpolation unless asked for otherwise.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each encoder stage, finest first.
    blocks : int or sequence of int
        Residual blocks per stage; 2 is ResNet-18, (3, 4, 6, 3) is ResNet-34.
    strides : sequence of (int or tuple of int), optional
        Steps, per axis, of the first convolution, the pooling, and the stages but the first.
        Default: 2s.
    kernel_size : int or tuple of int
        Odd sides of the convolutions but the first.
    first_kernel : int or tuple of int
        Odd sides of the first convolution.
    norm : {"batch", "instance", "group", "none"}
        Normalisation after each convolution but the last.
    upsampling : {"resize", "transposed"}
        Interpolation and a convolution, or the paper's transposed convolution of as many weights.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

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
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: int | Sequence[int] = 2,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        first_kernel: int | Sequence[int] = 7,
        norm: str = "batch",
        upsampling: str = "resize",
    ) -> None:
        super().__init__()
        self.ndim = ndim
        levels = check_levels(widths)
        counts = per_level(blocks, levels, "network.blocks")
        kernel, one = odd_kernel(kernel_size, ndim), (1,) * ndim
        steps = window_steps(strides, levels + 1, ndim)
        self.divisor = divisor_of(steps)
        start = odd_kernel(first_kernel, ndim)
        self.stem = nn.Sequential(
            *_unit(ndim, in_channels, widths[0], start, steps[0], norm),
            nn.ReLU(),
            MAX_POOL[ndim](kernel, steps[1], tuple(k // 2 for k in kernel)),
        )
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()  # both finest first
        above = widths[0]
        for width, count, step in zip(widths, counts, (one, *steps[2:]), strict=True):
            stage = [_Residual(ndim, above, width, kernel, step, norm)]
            stage += [_Residual(ndim, width, width, kernel, one, norm) for _ in range(count - 1)]
            self.encoder.append(nn.Sequential(*stage))
            self.decoder.append(_up(ndim, width, above, kernel, step, norm, upsampling))
            above = width
        first, half = widths[0], max(1, widths[0] // 2)
        self.grow = nn.Sequential(
            make_upsampling(
                upsampling, ndim, first, half, kernel=kernel, step=steps[1], bias=norm == "none"
            ),
            make_norm(norm, ndim, half),
            nn.ReLU(),
            *_unit(ndim, half, half, kernel, one, norm),
            nn.ReLU(),
        )
        self.head = make_upsampling(
            upsampling, ndim, half, num_classes, kernel=kernel, step=steps[0], bias=True
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


class _Residual(nn.Module):
    """The basic block of ResNet: two convolutions, and the (projected) input added."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: tuple[int, ...],
        step: tuple[int, ...],
        norm: str,
    ) -> None:
        super().__init__()
        one = (1,) * ndim
        self.body = nn.Sequential(
            *_unit(ndim, channels, width, kernel, step, norm),
            nn.ReLU(),
            *_unit(ndim, width, width, kernel, one, norm),
        )
        same = channels == width and step == one
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Sequential(*_unit(ndim, channels, width, one, step, norm))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial / step)."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total.relu()


def _unit(
    ndim: int,
    channels: int,
    width: int,
    kernel: tuple[int, ...],
    step: tuple[int, ...],
    norm: str,
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and its norm."""
    conv = same_conv(ndim, channels, width, kernel, step, bias=norm == "none")
    return conv, make_norm(norm, ndim, width)


def _up(
    ndim: int,
    channels: int,
    out_channels: int,
    kernel: tuple[int, ...],
    step: tuple[int, ...],
    norm: str,
    mode: str,
) -> nn.Sequential:
    """Return a decoder block: to a quarter of the channels, upsample, to the channels above."""
    one, quarter = (1,) * ndim, max(1, channels // 4)
    bias = norm == "none"
    return nn.Sequential(
        *_unit(ndim, channels, quarter, one, one, norm),
        nn.ReLU(),
        make_upsampling(mode, ndim, quarter, quarter, kernel=kernel, step=step, bias=bias),
        make_norm(norm, ndim, quarter),
        nn.ReLU(),
        *_unit(ndim, quarter, out_channels, one, one, norm),
        nn.ReLU(),
    )
