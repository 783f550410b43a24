"""A gated recurrent unit over maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV
from medseg.networks.encoders.base import Axes


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
