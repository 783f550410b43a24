"""What the networks of the U-Net family share beyond `blocks`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, UP_CONV, make_norm, same_conv
from medseg.networks.layers import resize
from medseg.registry import nearest


class Enlarge(nn.Module):
    """Linear interpolation by ``step`` per axis, voxel centres kept in place (no checkerboard)."""

    def __init__(self, step: tuple[int, ...]) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, channels, *spatial * step)."""
        return resize(x, [n * s for n, s in zip(x.shape[2:], self.step, strict=True)])


def make_up(
    up: str, ndim: int, channels: int, out_channels: int, step: tuple[int, ...]
) -> nn.Module:
    """Return the layer between two levels.

    Parameters
    ----------
    up : {"resize", "transposed"}
        "resize" is a 1x1 convolution, then linear interpolation (in this order it costs less, and
        the two commute); "transposed" a transposed convolution whose kernel is its stride.
    ndim, channels, out_channels : int
    step : tuple of int
        How much larger the output is, per axis.

    Raises
    ------
    ConfigError
        If ``up`` is neither.
    """
    if up == "transposed":
        return UP_CONV[ndim](channels, out_channels, step, step)  # type: ignore[arg-type]
    if up == "resize":
        return nn.Sequential(CONV[ndim](channels, out_channels, 1), Enlarge(step))
    raise ConfigError(
        f"network.arguments.up: there is no '{up}'; {nearest(up, ('resize', 'transposed'))}"
    )


def relu_convs(
    ndim: int, channels: int, width: int, *, count: int, kernel: tuple[int, ...], norm: str
) -> nn.Sequential:
    """Return ``count`` rows of convolution, normalisation and ReLU."""
    layers: list[nn.Module] = []
    for i in range(count):
        before = channels if i == 0 else width
        layers += [
            same_conv(ndim, before, width, kernel, (1,) * ndim, bias=norm == "none"),
            make_norm(norm, ndim, width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def down_and_up(
    x: Tensor,
    encoder: nn.ModuleList,
    pools: nn.ModuleList,
    ups: nn.ModuleList,
    decoder: nn.ModuleList,
) -> Tensor:
    """Go down by pooling, and up again beside what each level had on the way; all finest first."""
    x = encoder[0](x)
    skips = []
    for pool, convs in zip(pools, encoder[1:], strict=True):
        skips.append(x)
        x = convs(pool(x))
    for level in reversed(range(len(decoder))):
        x = decoder[level](torch.cat((skips[level], ups[level](x)), dim=1))
    return x
