"""Layers of the encoder networks: convolution units by kernel and dilation, resizing, dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import CONV, make_norm

MAX_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
ADAPTIVE_POOL: dict[int, type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]] = {
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}
DROPOUT: dict[int, type[nn.Dropout2d] | type[nn.Dropout3d]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
LINEAR = {4: "bilinear", 5: "trilinear"}  # by the number of axes of a tensor


def resize(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Interpolate linearly to ``sizes``; both grids cover the same field of view.

    Parameters
    ----------
    x : float Tensor of shape (B, C, *spatial)
    sizes : sequence of int
        One per spatial axis.

    Returns
    -------
    float Tensor of shape (B, C, *sizes)
        Of the type of ``x``.
    """
    if x.shape[2:] == tuple(sizes):
        return x
    out = functional.interpolate(x, tuple(sizes), mode=LINEAR[x.ndim], align_corners=False)
    return out.to(x.dtype)  # autocast on the CPU interpolates in float32


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, at least 1."""
    return max(1, round(channels * width))


class ConvNormAct(nn.Sequential):
    """Convolution that keeps the size (but for ``stride``), normalisation and ReLU.

    Parameters
    ----------
    ndim, channels, out_channels : int
    kernel : tuple of int
        Odd, one per axis.
    stride, dilation : int or tuple of int
    groups : int
    norm : {"instance", "batch", "group", "none"}
        Without normalisation the convolution has a bias.
    activate : bool
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, ...],
        norm: str,
        stride: int | tuple[int, ...] = 1,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        rates = (dilation,) * ndim if isinstance(dilation, int) else dilation
        conv = CONV[ndim](
            channels,
            out_channels,
            kernel,  # type: ignore[arg-type]
            stride,  # type: ignore[arg-type]
            tuple(d * (k // 2) for d, k in zip(rates, kernel, strict=True)),  # type: ignore[arg-type]
            rates,  # type: ignore[arg-type]
            groups,
            bias=norm == "none",
        )
        layers: list[nn.Module] = [conv, make_norm(norm, ndim, out_channels)]
        if activate:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


def conv_units(
    ndim: int, channels: int, width: int, count: int, *, kernel: tuple[int, ...], norm: str
) -> list[ConvNormAct]:
    """Return ``count`` units one after the other, of which the first reads ``channels``."""
    return [
        ConvNormAct(ndim, width if i else channels, width, kernel=kernel, norm=norm)
        for i in range(count)
    ]


class Separable(nn.Sequential):
    """Depthwise convolution, then 1x1; each with normalisation and, unless switched off, ReLU [1]_.

    Parameters
    ----------
    ndim, channels, out_channels : int
    kernel : tuple of int
        Odd, one per axis.
    norm : str
    stride, dilation : int or tuple of int
        Of the depthwise convolution.
    between, activate : bool
        ReLU after the depthwise convolution, and after the 1x1.

    References
    ----------
    .. [1] Chen et al., Encoder-decoder with atrous separable convolution, ECCV 2018, section 3.1.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, ...],
        norm: str,
        stride: int | tuple[int, ...] = 1,
        dilation: int | tuple[int, ...] = 1,
        between: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__(
            ConvNormAct(
                ndim,
                channels,
                channels,
                kernel=kernel,
                norm=norm,
                stride=stride,
                dilation=dilation,
                groups=channels,
                activate=between,
            ),
            ConvNormAct(
                ndim, channels, out_channels, kernel=(1,) * ndim, norm=norm, activate=activate
            ),
        )


class Affine(nn.Module):
    """A factor and a summand per channel: a normalisation without its statistics."""

    def __init__(self, ndim: int, channels: int) -> None:
        super().__init__()
        shape = (channels, *(1,) * ndim)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to the same shape and type."""
        return (x * self.weight + self.bias).to(x.dtype)


class PooledUnit(nn.Sequential):
    """Average over ``bins`` regions per axis, a 1x1 convolution, an affine map, an activation.

    There is no normalisation: one case pooled to one value has no statistics to normalise by. The
    affine map has the parameters that batch normalisation would have.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        bins: int,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(
            ADAPTIVE_POOL[ndim](bins),
            CONV[ndim](channels, out_channels, 1, bias=False),
            Affine(ndim, out_channels),
            activation(),
        )
