"""Parts of networks of queries: pixel decoder, layers of the queries, sine positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder
from medseg.networks.layers import ConvNormAct
from medseg.networks.transformer import Attention, mlp


class PixelDecoder(nn.Module):
    """A feature pyramid down to the first stage's map, and the vectors that masks are made of."""

    def __init__(self, encoder: Encoder, channels: int, *, ndim: int, norm: str) -> None:
        super().__init__()
        kernel, given = encoder.kernel, encoder.channels[1:]

        def unit(made_of: int, sides: tuple[int, ...], *, activate: bool) -> ConvNormAct:
            return ConvNormAct(ndim, made_of, channels, kernel=sides, norm=norm, activate=activate)

        self.top = unit(given[-1], kernel, activate=True)
        self.laterals = nn.ModuleList(unit(c, (1,) * ndim, activate=False) for c in given[:-1])
        self.smooth = nn.ModuleList(unit(channels, kernel, activate=True) for _ in given[:-1])
        margin = tuple(k // 2 for k in kernel)
        self.last = CONV[ndim](channels, channels, kernel, padding=margin)  # type: ignore[arg-type]
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return vectors (B, channels, *spatial) at the size of the first stage's map."""
        x = self.top(maps[-1])
        for i in reversed(range(len(self.laterals))):
            lateral = self.laterals[i](maps[1 + i])
            x = self.smooth[i](lateral + functional.interpolate(x, lateral.shape[2:]))
        out: Tensor = self.last(x)
        return out


class QueryLayer(nn.Module):
    """Attention among the queries and to the map, two linear layers; a layer norm after each."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.own, self.cross = Attention(width, heads), Attention(width, heads)
        self.feed = mlp(width, hidden, nn.ReLU)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, query: Tensor, seen: Tensor, places: Tensor) -> Tensor:
        """Map queries (B, Q, width) to the same shape; see `Attention`."""
        x = self.norms[0](x + self.own(x + query, x, query))
        x = self.norms[1](x + self.cross(x + query, seen, places))
        out: Tensor = self.norms[2](x + self.feed(x))
        return out


def sine_positions(channels: int, sizes: Sequence[int], device: torch.device) -> Tensor:
    """Return sines and cosines of each coordinate, at wavelengths from 1 to 10000 of a map's side.

    Parameters
    ----------
    channels : int
        Shared out among the axes; what is left over stays 0.
    sizes : sequence of int
        Of the map, of which every axis runs from 0 to 2 pi.
    device : torch.device

    Returns
    -------
    float Tensor of shape (1, channels, *sizes)
    """
    waves = channels // (2 * len(sizes))
    parts = []
    for axis, size in enumerate(sizes):
        angle = (torch.arange(size, device=device) + 0.5) * (2 * math.pi / size)
        rates = 10000 ** -(torch.arange(waves, device=device) / max(1, waves))
        phase = rates[:, None] * angle  # (waves, size)
        part = torch.cat((phase.sin(), phase.cos()))
        shape = [1] * len(sizes)
        shape[axis] = size
        parts.append(part.view(2 * waves, *shape).expand(2 * waves, *sizes))
    parts.append(torch.zeros(channels - 2 * waves * len(sizes), *sizes, device=device))
    return torch.cat(parts)[None]
