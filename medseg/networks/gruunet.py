"""GRUU-Net in 2-D and 3-D: a recurrent state at full resolution beside a U-shaped path."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.networks.arguments import divisor_of, level_geometry
from medseg.networks.blocks import AVERAGE_POOL, CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.encoders.base import Axes, running_product
from medseg.networks.layers import ConvNormAct, resize


class GRUUNet(nn.Module):
    """A U-shaped path reads and updates one state at full resolution, at every scale [1]_.

    At each step the path's map is convolved beside the state, averaged to its scale; what comes out
    goes on along the path and, enlarged, through a convolutional GRU into the state, which the
    logits are made of. The paper gives no number of parameters, and its text leaves open the number
    of units per scale (here one down, one up): unverified.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Channels of the path at each scale, finest first.
    state_channels : int
        Of the state.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Step and odd kernel per level and axis; the first stride is 1. Default: 1, then 2s; kernels
        of 3.
    norm : {"batch", "instance", "group", "none"}

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Wollmann et al., GRUU-Net: integrated convolutional and gated recurrent neural network
       for cell segmentation, Medical Image Analysis 56, 2019.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (32, 64, 128, 128, 128),
        state_channels: int = 32,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.ndim = ndim
        levels = len(widths)
        steps, kernels = level_geometry(widths, strides, kernel_sizes, ndim)
        self.divisor = divisor_of(steps)
        totals = running_product(steps)
        self.first = nn.ModuleList(
            ConvNormAct(ndim, in_channels, w, kernel=kernels[0], norm=norm)
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
        self.head = CONV[ndim](state_channels, num_classes, 1)
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
        self.convs = nn.Sequential(
            ConvNormAct(ndim, channels + state, width, kernel=kernel, norm=norm),
            ConvNormAct(ndim, width, width, kernel=kernel, norm=norm),
        )
        self.project = CONV[ndim](width, state, 1)
        self.cell = ConvGRU(ndim, state, fine_kernel)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the path's map at this scale, and the new state (B, state, *spatial)."""
        seen = self.shrink(state)
        x = self.convs(torch.cat((resize(x, seen.shape[2:]), seen), dim=1))
        return x, self.cell(resize(self.project(x), state.shape[2:]), state)


class ConvGRU(nn.Module):
    """Gated recurrent unit whose products are convolutions [1]_.

    ``z, r = sigmoid(conv(x, h))``, ``c = tanh(conv(x, r * h))``, ``h' = (1 - z) * h + z * c``.

    References
    ----------
    .. [1] Ballas et al., Delving deeper into convolutional networks for learning video
       representations, ICLR 2016, equations 8 to 11.
    """

    def __init__(self, ndim: int, channels: int, kernel: Axes) -> None:
        super().__init__()
        margin = tuple(k // 2 for k in kernel)
        conv = CONV[ndim]
        self.gates = conv(2 * channels, 2 * channels, kernel, padding=margin)  # type: ignore[arg-type]
        self.candidate = conv(2 * channels, channels, kernel, padding=margin)  # type: ignore[arg-type]

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Map an input and a state, both (B, channels, *spatial), to the next state."""
        update, reset = self.gates(torch.cat((x, state), dim=1)).sigmoid().chunk(2, dim=1)
        candidate = self.candidate(torch.cat((x, reset * state), dim=1)).tanh()
        new: Tensor = state + update * (candidate - state)
        return new
