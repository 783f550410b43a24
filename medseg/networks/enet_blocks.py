"""Bottlenecks of ENet: regular, dilated or strips; pooling; unpooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, make_norm, same_conv
from medseg.networks.layers import DROPOUT
from medseg.networks.unpooling import make_upsampling, max_pool, unpool

STRIPS = 0
"""In place of a dilation: one kernel of 5 along each axis in turn."""


class Bottleneck(nn.Module):
    """To a quarter of the channels, one convolution (or strips), back, and the input added."""

    def __init__(
        self,
        ndim: int,
        width: int,
        kernel: tuple[int, ...],
        dilation: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        inner, bias = _quarter(width), norm == "none"
        middle = (
            _strips(ndim, inner, kernel, bias)
            if dilation == STRIPS
            else [_dilated(ndim, inner, kernel, dilation, bias)]
        )
        self.body = nn.Sequential(
            *_project(ndim, width, inner, (1,) * ndim, norm),
            *middle,
            make_norm(norm, ndim, inner),
            nn.PReLU(inner),
            *_expand(ndim, inner, width, norm, dropout),
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = self.activation(x + self.body(x))
        return out


class DownBottleneck(nn.Module):
    """A bottleneck that pools: the body strides, the input is pooled and filled with zeros."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: tuple[int, ...],
        step: tuple[int, ...],
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        if width < channels:
            raise ConfigError(
                f"network.arguments.widths: a stage of {width} channels behind {channels}; they "
                "must not shrink on the way down"
            )
        inner, bias = _quarter(width), norm == "none"
        self.step, self.missing = step, width - channels
        self.body = nn.Sequential(
            *_project(ndim, channels, inner, step, norm),
            _dilated(ndim, inner, kernel, 1, bias),
            make_norm(norm, ndim, inner),
            nn.PReLU(inner),
            *_expand(ndim, inner, width, norm, dropout),
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, channels, *spatial) to (B, width, *spatial / step), with the pooling's places."""
        pooled, places = max_pool(x, self.step)
        zeros = pooled.new_zeros(pooled.shape[0], self.missing, *pooled.shape[2:])
        return self.activation(torch.cat((pooled, zeros), dim=1) + self.body(x)), places


class UpBottleneck(nn.Module):
    """A bottleneck that upsamples in its body; the projected input is unpooled and added."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: tuple[int, ...],
        step: tuple[int, ...],
        norm: str,
        mode: str,
    ) -> None:
        super().__init__()
        inner, one, bias = _quarter(width), (1,) * ndim, norm == "none"
        self.step = step
        self.shortcut = nn.Sequential(
            same_conv(ndim, channels, width, one, one, bias=bias), make_norm(norm, ndim, width)
        )
        self.body = nn.Sequential(
            *_project(ndim, channels, inner, one, norm),
            make_upsampling(mode, ndim, inner, inner, kernel=kernel, step=step, bias=bias),
            make_norm(norm, ndim, inner),
            nn.PReLU(inner),
            *_expand(ndim, inner, width, norm, 0.0),
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial * step)."""
        out: Tensor = self.activation(unpool(self.shortcut(x), places, self.step) + self.body(x))
        return out


def bottlenecks(
    ndim: int,
    width: int,
    kernel: tuple[int, ...],
    dilations: Sequence[int],
    norm: str,
    dropout: float,
) -> nn.Sequential:
    """Return one bottleneck for each dilation."""
    return nn.Sequential(*(Bottleneck(ndim, width, kernel, d, norm, dropout) for d in dilations))


def _quarter(width: int) -> int:
    """Return the inner width of a bottleneck."""
    return max(1, width // 4)


def _project(
    ndim: int, channels: int, inner: int, step: tuple[int, ...], norm: str
) -> tuple[nn.Module, ...]:
    """Return the convolution that narrows, whose kernel is its step, with norm and PReLU."""
    conv = CONV[ndim](channels, inner, step, step, bias=norm == "none")  # type: ignore[arg-type]
    return conv, make_norm(norm, ndim, inner), nn.PReLU(inner)


def _expand(ndim: int, inner: int, width: int, norm: str, dropout: float) -> tuple[nn.Module, ...]:
    """Return the convolution that widens, with norm and dropout of whole maps."""
    conv = CONV[ndim](inner, width, 1, bias=norm == "none")
    return conv, make_norm(norm, ndim, width), DROPOUT[ndim](dropout)


def _dilated(
    ndim: int, width: int, kernel: tuple[int, ...], dilation: int, bias: bool
) -> nn.Module:
    """Return a dilated convolution that keeps the size."""
    padding = tuple(dilation * (k // 2) for k in kernel)
    return CONV[ndim](width, width, kernel, 1, padding, dilation, bias=bias)  # type: ignore[arg-type]


def _strips(ndim: int, width: int, kernel: tuple[int, ...], bias: bool) -> list[nn.Module]:
    """Return one convolution of 5 along each axis, first to last."""
    one = (1,) * ndim
    shapes = [tuple(5 if a == axis else 1 for a in range(ndim)) for axis in range(ndim)]
    return [
        same_conv(ndim, width, width, shape, one, bias=bias)
        for shape, side in zip(shapes, kernel, strict=True)
        if side > 1
    ]
