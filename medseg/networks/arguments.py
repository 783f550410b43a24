"""Arguments of networks brought to one integer per axis, or per level and axis, and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medseg.errors import ConfigError


def per_axis(value: int | Sequence[int], ndim: int, key: str) -> tuple[int, ...]:
    """Return one positive integer per spatial axis.

    Raises
    ------
    ConfigError
        If ``value`` has another number of axes, or an entry below 1.
    """
    axes = (value,) * ndim if isinstance(value, int) else tuple(int(v) for v in value)
    if len(axes) != ndim or min(axes) < 1:
        raise ConfigError(f"{key}: {value!r} must be a positive integer, or one per axis ({ndim})")
    return axes


def per_level(value: int | Sequence[int], levels: int, key: str) -> tuple[int, ...]:
    """Return one positive integer per level; see `per_axis`."""
    values = (value,) * levels if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != levels or (values and min(values) < 1):
        raise ConfigError(
            f"{key}: {value!r} must be a positive integer, or one per level ({levels})"
        )
    return values


def check_levels(widths: Sequence[int]) -> int:
    """Return how many levels there are.

    Raises
    ------
    ConfigError
        If there is none, or a width is not positive.
    """
    if not widths or min(widths) < 1:
        raise ConfigError(
            f"network.arguments.widths: {widths!r} must be one positive integer or more"
        )
    return len(widths)


def level_axes(
    value: Sequence[int | Sequence[int]] | None,
    default: Sequence[int],
    ndim: int,
    levels: int,
    key: str,
) -> tuple[tuple[int, ...], ...]:
    """Bring a per-level argument to one tuple of an integer per axis for each level."""
    entries = default if value is None else value
    if len(entries) != levels:
        raise ConfigError(
            f"network.arguments.{key} has {len(entries)} entries for {levels} levels; give one each"
        )
    return tuple(per_axis(v, ndim, f"network.arguments.{key}") for v in entries)


def level_geometry(
    widths: Sequence[int],
    strides: Sequence[int | Sequence[int]] | None,
    kernel_sizes: Sequence[int | Sequence[int]] | None,
    ndim: int,
    *,
    kernel: int = 3,
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Bring the arguments of a U-shaped network to the stride and the kernel of each level.

    Parameters
    ----------
    widths : sequence of int
        One per level.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        One per level. Default: strides of 2 behind the first level, and of 1 there; ``kernel``.
    ndim : int
    kernel : int

    Raises
    ------
    ConfigError
        For a strided first level, and for even kernels, which would shift the output.
    """
    levels = len(widths)
    steps = level_axes(strides, (1, *(2 for _ in widths[1:])), ndim, levels, "strides")
    kernels = level_axes(kernel_sizes, (kernel,) * levels, ndim, levels, "kernel_sizes")
    if max(steps[0]) != 1:
        raise ConfigError(
            f"network.arguments.strides starts with {steps[0]}; the first level's stride is 1"
        )
    even = [k for k in kernels if any(n % 2 == 0 for n in k)]
    if even:
        raise ConfigError(f"network.arguments.kernel_sizes holds {even[0]}; kernels must be odd")
    return steps, kernels


def divisor_of(steps: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Multiply the strides of all levels, axis by axis."""
    return tuple(math.prod(along) for along in zip(*steps, strict=True))


def window_steps(
    value: Sequence[int | Sequence[int]] | None, count: int, ndim: int
) -> tuple[tuple[int, ...], ...]:
    """Bring the argument ``strides``, one entry per halving, to one integer per axis each.

    Raises
    ------
    ConfigError
        If there are not ``count`` entries, or one is not positive.
    """
    entries = (2,) * count if value is None else tuple(value)
    if len(entries) != count:
        raise ConfigError(
            f"network.arguments.strides has {len(entries)} entries; this network halves {count} "
            "times, give one for each"
        )
    return tuple(per_axis(v, ndim, "network.arguments.strides") for v in entries)


def odd_kernel(value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Bring the argument ``kernel_size`` to one odd integer per axis.

    Raises
    ------
    ConfigError
        If one is even, which would shift the output, or not positive.
    """
    kernel = per_axis(value, ndim, "network.arguments.kernel_size")
    if any(n % 2 == 0 for n in kernel):
        raise ConfigError(f"network.arguments.kernel_size holds {kernel}; kernels must be odd")
    return kernel
