"""The block of RefineNet: residual units, fusion of two resolutions, chained residual pooling."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks import make_norm, same_conv
from medseg.networks.encoders.base import Axes
from medseg.networks.layers import MAX_POOL, resize


class RefineBlock(nn.Module):
    """Residual units on the level's map, fusion with the coarser one, pooling chain, more units."""

    def __init__(
        self, ndim: int, width: int, below: int, kernel: Axes, pools: int, norm: str
    ) -> None:
        super().__init__()
        self.adapt = nn.Sequential(*(_Residual(ndim, width, kernel, norm) for _ in range(2)))
        self.here = conv_norm(ndim, width, width, kernel, norm) if below else nn.Identity()
        self.below = conv_norm(ndim, below, width, kernel, norm) if below else None
        window = tuple(5 if k > 1 else 1 for k in kernel)
        margin = tuple(k // 2 for k in window)
        self.chain = nn.ModuleList(
            nn.Sequential(
                MAX_POOL[ndim](window, 1, margin), conv_norm(ndim, width, width, kernel, norm)
            )
            for _ in range(pools)
        )
        self.out = nn.Sequential(*(_Residual(ndim, width, kernel, norm) for _ in range(3)))

    def forward(self, x: Tensor, below: Tensor | None) -> Tensor:
        """Map (B, width, *spatial), and a coarser map, to (B, width, *spatial)."""
        x = self.here(self.adapt(x))
        if below is not None and self.below is not None:
            x = x + resize(self.below(below), x.shape[2:])
        x = link = x.relu()
        for pool in self.chain:  # chained residual pooling: each link pools the one before
            link = pool(link)
            x = x + link
        out: Tensor = self.out(x)
        return out


class _Residual(nn.Module):
    """ReLU and convolution, twice, and the input added."""

    def __init__(self, ndim: int, width: int, kernel: Axes, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            conv_norm(ndim, width, width, kernel, norm, bias=norm == "none"),
            nn.ReLU(),
            conv_norm(ndim, width, width, kernel, norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = x + self.body(x)
        return out


def conv_norm(
    ndim: int, channels: int, width: int, kernel: Axes, norm: str, *, bias: bool = False
) -> nn.Sequential:
    """Return a convolution that keeps the size, and its norm."""
    return nn.Sequential(
        same_conv(ndim, channels, width, kernel, (1,) * ndim, bias=bias),
        make_norm(norm, ndim, width),
    )


def start_small(module: nn.Module) -> None:
    """Draw weights as the authors do: the many unnormalised sums would else swell the map."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
