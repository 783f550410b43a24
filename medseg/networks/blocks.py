"""What the networks share: layers by dimension, normalisation by name, padding to a divisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks.channels_last import (
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm2d,
    InstanceNorm3d,
    Tiles2d,
    Tiles3d,
    pooled_conv,
)
from medseg.registry import nearest

Norm = Literal["instance", "batch", "group", "none"]

CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
UP_CONV: dict[int, type[Tiles2d] | type[Tiles3d]] = {2: Tiles2d, 3: Tiles3d}
"""Transposed convolutions whose kernel is their stride."""
BATCH_NORM: dict[int, type[BatchNorm2d] | type[BatchNorm3d]] = {2: BatchNorm2d, 3: BatchNorm3d}
INSTANCE_NORM: dict[int, type[InstanceNorm2d] | type[InstanceNorm3d]] = {
    2: InstanceNorm2d,
    3: InstanceNorm3d,
}
AVERAGE_POOL: dict[int, type[nn.AvgPool2d] | type[nn.AvgPool3d]] = {
    2: nn.AvgPool2d,
    3: nn.AvgPool3d,
}


def make_norm(norm: str, ndim: int, channels: int) -> nn.Module:
    """Return the normalisation layer of that name.

    Raises
    ------
    ConfigError
        If there is none; the message gives the nearest name.
    """
    if norm == "instance":
        return INSTANCE_NORM[ndim](channels, affine=True)
    if norm == "batch":
        return BATCH_NORM[ndim](channels)
    if norm == "group":
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    if norm == "none":
        return nn.Identity()
    raise ConfigError(
        f"no normalisation is named '{norm}'; "
        f"{nearest(norm, ('instance', 'batch', 'group', 'none'))}"
    )


def same_conv(
    ndim: int,
    channels: int,
    out_channels: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    bias: bool,
) -> nn.Module:
    """Return a convolution that divides the size by ``stride``; kernels are odd."""
    padding = tuple(k // 2 for k in kernel)
    return CONV[ndim](channels, out_channels, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]


class ConvUnit(nn.Sequential):
    """Convolution, normalisation and (unless ``activate`` is off) leaky ReLU."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        norm: str,
        activate: bool = True,
    ) -> None:
        layers = [
            same_conv(ndim, channels, out_channels, kernel, stride, bias=norm == "none"),
            make_norm(norm, ndim, out_channels),
        ]
        if activate:
            layers.append(nn.LeakyReLU(0.01, inplace=True))
        super().__init__(*layers)


class Shortcut(nn.Sequential):
    """The way around a block: average pooling, then a unit of a 1x1 convolution; or either.

    On a CPU the two are one convolution: autocast would pool in float32, which costs more than all
    else here.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial / stride)."""
        if len(self) < 2 or x.device.type != "cpu":
            out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return out
        pool: Any = self[0]
        unit: Any = self[1]
        y = pooled_conv(x, unit[0], pool.stride)
        for layer in list(unit)[1:]:
            y = layer(y)
        return y


class Block(nn.Module):
    """Two convolutions; with ``residual``, the (pooled and projected) input is added [1]_.

    References
    ----------
    .. [1] He et al., Bag of tricks for image classification, CVPR 2019, section 4 (the pooled
       shortcut).
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        norm: str,
        residual: bool,
    ) -> None:
        super().__init__()
        one = (1,) * ndim
        self.first = ConvUnit(ndim, channels, out_channels, kernel=kernel, stride=stride, norm=norm)
        self.second = ConvUnit(
            ndim, out_channels, out_channels, kernel=kernel, stride=one, norm=norm, activate=False
        )
        self.activation = nn.LeakyReLU(0.01, inplace=True)
        self.shortcut: nn.Module | None = None
        if residual:
            shortcut: list[nn.Module] = []
            if stride != one:
                shortcut.append(AVERAGE_POOL[ndim](stride, stride))  # type: ignore[arg-type]
            if channels != out_channels:
                shortcut.append(
                    ConvUnit(
                        ndim,
                        channels,
                        out_channels,
                        kernel=one,
                        stride=one,
                        norm=norm,
                        activate=False,
                    )
                )
            self.shortcut = Shortcut(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, out_channels, *spatial / stride)."""
        y = self.second(self.first(x))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        out: Tensor = self.activation(y)
        return out


def init_weights(module: nn.Module) -> None:
    """Draw convolution weights after He et al. (ICCV 2015) for a leaky ReLU; biases start at 0."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pad_to_divisor(image: Tensor, divisor: Sequence[int]) -> Tensor:
    """Pad at the end of each axis, repeating the border, to a multiple of ``divisor``.

    An image that would shrink to a single voxel on the coarsest level is padded to two of them:
    the statistics of instance and batch normalisation need more than one value.

    Parameters
    ----------
    image : float Tensor of shape (B, C, *spatial)
    divisor : sequence of int
        One per spatial axis.

    Returns
    -------
    float Tensor of shape (B, C, *padded)
    """
    sizes = image.shape[2:]
    target = [-(-n // d) * d for n, d in zip(sizes, divisor, strict=True)]
    if all(t == d for t, d in zip(target, divisor, strict=True)):
        target[-1] *= 2
    missing = [t - n for t, n in zip(target, sizes, strict=True)]
    if not any(missing):
        return image
    pairs = [p for m in reversed(missing) for p in (0, m)]
    return functional.pad(image, pairs, mode="replicate")


def crop_to(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Undo `pad_to_divisor`: keep the first ``sizes`` voxels of each spatial axis."""
    for axis, size in enumerate(sizes, start=2):
        if x.shape[axis] != size:
            x = x.narrow(axis, 0, size)
    return x
