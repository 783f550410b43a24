"""GRUU-Net in 2-D and 3-D: a recurrent state at full resolution beside a U-shaped path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import AVERAGE_POOL, CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.conv_gru import ConvGRU
from medseg.networks.encoders.base import Axes, running_product
from medseg.networks.layers import ConvNormAct, conv_units, resize
from medseg.networks.levels import LevelNetwork


class GRUUNet(LevelNetwork):
    """A U-shaped path reads and updates one state at full resolution, at every scale [1]_.

    At each step the path's map is convolved beside the state, averaged to its scale; what comes out
    goes on along the path and, enlarged, through a convolutional GRU into the state, which the
    logits are made of. The paper gives no number of parameters, and its text leaves open the number
    of units per scale (here one down, one up): unverified.

    Parameters
    ----------
    state_channels : int
        Of the state.
    widths, **arguments
        Of `medseg.networks.levels.LevelNetwork`: of the path.

    References
    ----------
    .. [1] Wollmann et al., GRUU-Net: integrated convolutional and gated recurrent neural network
       for cell segmentation, Medical Image Analysis 56, 2019.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 128, 128),
        state_channels: int = 32,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, **arguments)
        ndim, kernels, norm, levels = self.ndim, self.kernels, self.norm, len(widths)
        totals = running_product(self.steps)
        self.first = nn.ModuleList(
            ConvNormAct(ndim, self.in_channels, w, kernel=kernels[0], norm=norm)
            for w in (widths[0], state_channels)
        )
        self.units = nn.ModuleList()
        channels = widths[0]
        for level in (*range(levels), *reversed(range(levels - 1))):  # down, then up
            self.units.append(
                _Unit(
                    ndim,
                    channels,
                    widths[level],
                    state_channels,
                    totals[level],
                    kernels[level],
                    kernels[0],
                    norm,
                )
            )
            channels = widths[level]
        self.head = CONV[ndim](state_channels, self.num_classes, 1)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        x, state = (first(padded) for first in self.first)
        for unit in self.units:
            x, state = unit(x, state)
        return crop_to(self.head(state), image.shape[2:])


class _Unit(nn.Module):
    """One step of the path at one scale, and the update of the state."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        state: int,
        step: Axes,
        kernel: Axes,
        fine_kernel: Axes,
        norm: str,
    ) -> None:
        super().__init__()
        self.shrink = AVERAGE_POOL[ndim](step, step)  # type: ignore[arg-type]
        units = conv_units(ndim, channels + state, width, 2, kernel=kernel, norm=norm)
        self.convs = nn.Sequential(*units)
        self.project = CONV[ndim](width, state, 1)
        self.cell = ConvGRU(ndim, state, fine_kernel)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the path's map at this scale, and the new state (B, state, *spatial)."""
        seen = self.shrink(state)
        x = self.convs(torch.cat((resize(x, seen.shape[2:]), seen), dim=1))
        return x, self.cell(resize(self.project(x), state.shape[2:]), state)
