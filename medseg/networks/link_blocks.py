"""Blocks of LinkNet: the residual one of the way down, the narrow one of the way up."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks import make_norm, same_conv
from medseg.networks.unpooling import make_upsampling


class ResidualUnit(nn.Module):
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
            *conv_norm(ndim, channels, width, kernel, step, norm),
            nn.ReLU(),
            *conv_norm(ndim, width, width, kernel, one, norm),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels != width or step != one:
            self.shortcut = nn.Sequential(*conv_norm(ndim, channels, width, one, step, norm))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial / step)."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total.relu()


def conv_norm(
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


def up_block(
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
        *conv_norm(ndim, channels, quarter, one, one, norm),
        nn.ReLU(),
        make_upsampling(mode, ndim, quarter, quarter, kernel=kernel, step=step, bias=bias),
        make_norm(norm, ndim, quarter),
        nn.ReLU(),
        *conv_norm(ndim, quarter, out_channels, one, one, norm),
        nn.ReLU(),
    )
