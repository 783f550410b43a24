"""The shape stream of Gated-SCNN: a narrow path for the edges of classes, gated by an encoder."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV, make_norm
from medseg.networks.context.canny import canny
from medseg.networks.encoders import Encoder
from medseg.networks.layers import ConvNormAct, resize


class ShapeStream(nn.Module):
    """Residual blocks on the encoder's first map, each gated by one of its deeper ones."""

    def __init__(self, ndim: int, encoder: Encoder, channels: int, norm: str) -> None:
        super().__init__()
        conv, given, kernel = CONV[ndim], encoder.channels, encoder.kernel
        widths = [max(1, channels // 2**i) for i in range(4)]
        self.first = conv(given[0], widths[0], 1)
        self.seen = nn.ModuleList(conv(c, 1, 1) for c in given[-3:])
        self.blocks, self.narrow, self.gates = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for above, below in pairwise(widths):
            self.blocks.append(
                nn.Sequential(
                    ConvNormAct(ndim, above, above, kernel=kernel, norm=norm),
                    ConvNormAct(ndim, above, above, kernel=kernel, norm=norm, activate=False),
                )
            )
            self.narrow.append(conv(above, below, 1))
            self.gates.append(_Gate(ndim, below, norm))
        self.score = conv(widths[-1], 1, 1)
        self.join = conv(2, 1, 1)

    def forward(self, maps: list[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of edges and, with those of the image, edges in [0, 1], at its size."""
        x = self.first(maps[0])
        for i, gate in enumerate(self.gates):
            x = self.narrow[i]((x + self.blocks[i](x)).relu())
            x = gate(x, resize(self.seen[i](maps[len(maps) - 3 + i]), x.shape[2:]))
        scores = resize(self.score(x), image.shape[2:])
        own = canny(image).to(scores.dtype)
        return scores, self.join(torch.cat((scores.sigmoid(), own), dim=1)).sigmoid()


class _Gate(nn.Module):
    """Weigh the shape stream by what it and a deeper map show (equations 1 and 2)."""

    def __init__(self, ndim: int, channels: int, norm: str) -> None:
        super().__init__()
        conv, both = CONV[ndim], channels + 1
        self.weigh = nn.Sequential(
            make_norm(norm, ndim, both),
            conv(both, both, 1),
            nn.ReLU(),
            conv(both, 1, 1, bias=norm == "none"),
            make_norm(norm, ndim, 1),
        )
        self.mix = conv(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Map (B, channels, *spatial), beside (B, 1, *spatial), to the same shape."""
        out: Tensor = self.mix(x * (self.weigh(torch.cat((x, seen), dim=1)).sigmoid() + 1))
        return out
