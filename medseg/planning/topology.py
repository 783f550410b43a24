"""Where a U-Net halves which axis, so that it fits small and anisotropic patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

MIN_EDGE = 4
"""Smallest edge of the lowest feature map that pooling may produce."""

Axes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Strides and kernels per level, finest first, and the patch padded to fit them."""

    patch_size: Axes
    strides: tuple[Axes, ...]
    """Stride with which each level is entered; the first is all ones."""
    kernels: tuple[Axes, ...]
    """Kernel of each level: 1 along an axis that is still much coarser than the finest, else 3."""

    @property
    def divisor(self) -> Axes:
        """Number of which each patch side is a multiple."""
        sides = [1] * len(self.patch_size)
        for stride in self.strides:
            sides = [a * b for a, b in zip(sides, stride, strict=True)]
        return tuple(sides)


def plan_topology(
    patch_size: Sequence[int],
    spacing: Sequence[float],
    *,
    max_levels: int | None = None,
    min_levels: int = 1,
    exact: bool = False,
) -> Topology:
    """Pool each axis while it is long enough and about as fine as the finest (planning.md T1-T4).

    Parameters
    ----------
    patch_size : sequence of int
        Wanted patch, in voxels.
    spacing : sequence of float
        Voxel spacing in mm, same order.
    max_levels : int, optional
        Levels of the network at most; None: no limit.
    min_levels : int
        Levels at least; those that the patch has no room for get stride 1.
    exact : bool
        True never pads the patch: an axis is halved only while its size is even.

    Returns
    -------
    Topology
        At least one level; ``patch_size`` is padded up to a multiple of the divisor.

    References
    ----------
    .. [1] Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical
       image segmentation, Nature Methods 18, 2021.
    """
    size, mm = [int(n) for n in patch_size], [float(s) for s in spacing]
    kernel = [1] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while max_levels is None or len(strides) < max_levels:
        axes = _pooled_axes(size, mm, exact=exact)
        if not axes:
            break
        kernel = [3 if k == 3 or s < 2 * min(mm) else 1 for k, s in zip(kernel, mm, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if a in axes else 1 for a in range(len(size))))
        mm = [s * 2 if a in axes else s for a, s in enumerate(mm)]
        size = [ceil(n / 2) if a in axes else n for a, n in enumerate(size)]
    missing = max(0, min_levels - len(strides))
    strides += [(1,) * len(size)] * missing
    kernels += [(3,) * len(size)] * (missing + 1)  # the bottleneck is always 3
    return _padded(patch_size, strides, kernels)


def strided_topology(patch_size: Sequence[int], strides: Sequence[Axes]) -> Topology:
    """Return the topology of given strides, with kernels of 3 and the patch padded to fit."""
    return _padded(patch_size, strides, [(3,) * len(patch_size)] * len(strides))


def _pooled_axes(size: Sequence[int], mm: Sequence[float], *, exact: bool) -> list[int]:
    """Return the axes to halve next; none where pooling ends."""
    long = [a for a, n in enumerate(size) if n >= 2 * MIN_EDGE and not (exact and n % 2)]
    finest = min((mm[a] for a in long), default=0.0)
    axes = [a for a in long if mm[a] < 2 * finest]
    if len(axes) == 1 and size[axes[0]] < 3 * MIN_EDGE:
        return []
    return axes


def _padded(
    patch_size: Sequence[int], strides: Sequence[Axes], kernels: Sequence[Axes]
) -> Topology:
    """Round the patch up to what the strides need."""
    bare = Topology(
        patch_size=tuple(int(n) for n in patch_size),
        strides=tuple(strides),
        kernels=tuple(kernels),
    )
    sides = tuple(ceil(n / d) * d for n, d in zip(bare.patch_size, bare.divisor, strict=True))
    return Topology(patch_size=sides, strides=bare.strides, kernels=bare.kernels)
