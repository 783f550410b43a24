"""MobileNet v3 in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from medseg.networks.arguments import level_axes
from medseg.networks.blocks import CONV, init_weights, make_norm
from medseg.networks.encoders.base import Axes, Encoder, dilate, running_product
from medseg.networks.layers import ADAPTIVE_POOL, scaled


class Row(NamedTuple):
    """One block of table 1 or 2: kernel, expanded and output channels, gate, activation, stride."""

    kernel: int
    inner: int
    out: int
    gate: bool
    hard: bool
    stride: int


LARGE = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
SMALL = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)


class MobileNetV3(Encoder):
    """MobileNet v3 [1]_ up to its last 1x1 convolution; one map before each of its strides.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    rows : sequence of Row
        `LARGE` or `SMALL`.
    width : float
        Multiplies all channels; those of a gate are a quarter, to the next multiple of 8.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Five entries each, per axis where wanted. Strides: stem, then the blocks that have one;
        default 2. Kernels: of the stem, and of all blocks from each stride on; odd. By default
        those of the tables.
    output_stride : int or sequence of int, optional
        Strides beyond it turn into dilation.
    norm : {"instance", "batch", "group", "none"}

    References
    ----------
    .. [1] Howard et al., Searching for MobileNetV3, ICCV 2019, tables 1 and 2.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        rows: Sequence[Row],
        width: float = 1.0,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        output_stride: int | Sequence[int] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        steps = level_axes(strides, (2,) * 5, ndim, 5, "strides")
        kernels = level_axes(kernel_sizes, (3,) * 5, ndim, 5, "kernel_sizes")
        kept, rates = dilate(steps, output_stride)
        given, level = scaled(16, width), 0
        stem = _unit(ndim, in_channels, given, kernels[0], kept[0], (1,) * ndim, norm)
        stages, widths = [nn.Sequential(*stem, nn.Hardswish())], [given]
        for row in rows:
            step = (1,) * ndim
            if row.stride > 1:
                level += 1
                step = kept[level]
                stages.append(nn.Sequential())
                widths.append(given)
            # the strided convolution is dilated as what came before it
            rate = rates[level - 1] if row.stride > 1 else rates[level]
            kernel = kernels[level] if kernel_sizes is not None else (row.kernel,) * ndim
            inner, out = scaled(row.inner, width), scaled(row.out, width)
            stages[-1].append(_Block(ndim, given, inner, out, kernel, step, rate, row, norm))
            given = widths[-1] = out
        last = scaled(6 * rows[-1].out, width)
        stages[-1].extend((*_point(ndim, given, last, norm), nn.Hardswish()))
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = (*widths[:-1], last), running_product(kept)
        self.kernel = kernels[-1]
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to five maps, fine to coarse."""
        maps, x = [], image
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class _Block(nn.Module):
    """1x1 to ``inner``, depthwise, gate, 1x1 to ``out``; the input added where it fits."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        inner: int,
        out: int,
        kernel: Axes,
        step: Axes,
        rate: Axes,
        row: Row,
        norm: str,
    ) -> None:
        super().__init__()
        act = nn.Hardswish if row.hard else nn.ReLU
        self.body = nn.Sequential()
        if inner != channels:
            self.body.extend((*_point(ndim, channels, inner, norm), act()))
        self.body.extend((*_unit(ndim, inner, inner, kernel, step, rate, norm, inner), act()))
        if row.gate:
            self.body.append(_Gate(ndim, inner))
        self.body.extend(_point(ndim, inner, out, norm))
        self.residual = row.stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out, *spatial / step)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class _Gate(nn.Module):
    """Squeeze and excitation with a hard sigmoid."""

    def __init__(self, ndim: int, channels: int) -> None:
        super().__init__()
        narrow = _eights(channels / 4)
        self.body = nn.Sequential(
            ADAPTIVE_POOL[ndim](1),
            CONV[ndim](channels, narrow, 1),
            nn.ReLU(),
            CONV[ndim](narrow, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        out: Tensor = x * self.body(x)
        return out


def _eights(channels: float) -> int:
    """Round to a multiple of 8, at least 8, and not down by more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _unit(
    ndim: int,
    channels: int,
    width: int,
    kernel: Axes,
    step: Axes,
    rate: Axes,
    norm: str,
    groups: int = 1,
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and its norm."""
    margin = tuple(d * (k // 2) for d, k in zip(rate, kernel, strict=True))
    bias = norm == "none"
    conv = CONV[ndim](channels, width, kernel, step, margin, rate, groups, bias)  # type: ignore[arg-type]
    return conv, make_norm(norm, ndim, width)


def _point(ndim: int, channels: int, width: int, norm: str) -> tuple[nn.Module, nn.Module]:
    """Return a 1x1 convolution and its norm."""
    one = (1,) * ndim
    return _unit(ndim, channels, width, one, one, one, norm)
