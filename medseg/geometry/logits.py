"""From logits on one grid to class indices on another, slab by slab and only where it matters.

Interpolation mixes the 2^d old voxels around a new one with shares that sum to one. Where all of
them have the same largest class, so has every mixture: there the class is known without
interpolating. Only blocks with a border between classes in reach are interpolated, which changes
nothing in the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.geometry.resample import linear_taps

Decode = Callable[[Tensor], Tensor]
"""Maps logits (C, *block) to int16 class indices (*block), voxel by voxel."""

BLOCK = 24
"""Side of the blocks of new voxels that are interpolated at a time."""

CHUNK_VALUES = 2**22
"""Logits that are decoded at a time."""


class LogitsResampler:
    """Takes planes of logits as they are finished and writes what they decode to.

    Parameters
    ----------
    old, new : sequence of int
        Spatial shapes of the logits and of the results; planes come along the first axis.
    out : ndarray of shape (*new,)
        Class indices are written here; it may be a view (such as one with its axes exchanged).
    decode : callable
        See `Decode`.
    coarse_axis : int, optional
        Spatial axis along which the nearest voxel is taken.
    convex : bool
        Two logits that decode to one class also do so mixed: true of the largest logit. Lets
        blocks be skipped.
    maps : sequence of (callable, ndarray)
        Each callable maps logits (C, *block) to values (K, *block) that are written to the array of
        shape (K, *new); with any of them every block is interpolated.
    """

    def __init__(
        self,
        old: Sequence[int],
        new: Sequence[int],
        out: NDArray[np.int16],
        decode: Decode,
        *,
        coarse_axis: int | None = None,
        convex: bool = True,
        maps: Sequence[tuple[Callable[[Tensor], Tensor], NDArray[np.generic]]] = (),
    ) -> None:
        if len(old) != len(new) or out.shape != tuple(new) or min(*old, *new) < 1:
            raise ValueError(f"cannot resample shape {tuple(old)} to {tuple(new)}")
        self.taps = [
            _taps(n, m, nearest=axis == coarse_axis)
            for axis, (n, m) in enumerate(zip(old, new, strict=True))
        ]
        self.new, self.out, self.decode = tuple(new), out, decode
        self.skip = convex and not maps
        self.maps = maps
        self.written = 0

    def push(self, first: int, planes: Tensor) -> None:
        """Write the rows that can be interpolated now.

        Parameters
        ----------
        first : int
            Old plane that ``planes`` begins with: the last one of the call before, or 0.
        planes : float Tensor of shape (C, n, *rest)
        """
        upper = self.taps[0][1]
        ready = int(np.searchsorted(upper, first + planes.shape[1]))
        rows = range(self.written, ready)
        if not rows:
            return
        mixed = self._mixed(first, planes, rows) if self.skip else None
        cuts = [_cuts(rows.start, rows.stop), *(_cuts(0, m) for m in self.new[1:])]
        for at in itertools.product(*(range(len(axis)) for axis in cuts)):
            if mixed is None or mixed[at]:
                block = [axis[i] for i, axis in zip(at, cuts, strict=True)]
                self._write(block, self._interpolate(first, planes, block))
        self.written = ready

    def _mixed(self, first: int, planes: Tensor, rows: range) -> NDArray[np.bool_]:
        """Write each row's nearest class, and mark the blocks that more than one class reaches."""
        step = max(1, CHUNK_VALUES // math.prod((planes.shape[0], *planes.shape[2:])))
        parts = [self.decode(part.float()) for part in torch.split(planes, step, dim=1)]
        classes = torch.cat(parts).cpu().numpy()
        cuts = [_cuts(rows.start, rows.stop), *(_cuts(0, m) for m in self.new[1:])]
        low, high = classes, classes
        nearest = []
        for axis, (lower, upper, share) in enumerate(self.taps):
            shift = first if axis == 0 else 0
            spans = [
                slice(lower[c.start] - shift, upper[c.stop - 1] + 1 - shift) for c in cuts[axis]
            ]
            low = np.stack([low.take(_range(s), axis).min(axis) for s in spans], axis)
            high = np.stack([high.take(_range(s), axis).max(axis) for s in spans], axis)
            wanted = slice(rows.start, rows.stop) if axis == 0 else slice(None)
            nearest.append(np.where(share < 0.5, lower, upper)[wanted] - shift)
        self.out[rows.start : rows.stop] = classes[np.ix_(*nearest)]
        return np.asarray(low != high)

    def _interpolate(self, first: int, planes: Tensor, block: Sequence[slice]) -> Tensor:
        """Return float32 logits (C, *block)."""
        spans = []
        for axis, (cut, (lower, upper, _)) in enumerate(zip(block, self.taps, strict=True)):
            shift = first if axis == 0 else 0
            spans.append(slice(int(lower[cut.start]) - shift, int(upper[cut.stop - 1]) + 1 - shift))
        values = planes[:, *spans].float()
        for axis, (cut, (lower, upper, share)) in enumerate(zip(block, self.taps, strict=True)):
            origin = lower[cut.start]
            if not share[cut].any() and np.array_equal(
                lower[cut] - origin, np.arange(values.shape[axis + 1])
            ):
                continue
            below = values.index_select(axis + 1, _index(lower[cut] - origin, values))
            above = values.index_select(axis + 1, _index(upper[cut] - origin, values))
            weight = torch.as_tensor(share[cut], dtype=torch.float32, device=values.device)
            values = below.lerp(above, weight.reshape([-1] + [1] * (values.ndim - axis - 2)))
        return values

    def _write(self, block: Sequence[slice], values: Tensor) -> None:
        """Decode a block's logits into the results."""
        self.out[*block] = self.decode(values).cpu().numpy()
        for function, out in self.maps:
            out[:, *block] = function(values).cpu().numpy()


def logits_to_indices(
    logits: Tensor,
    shape: Sequence[int],
    decode: Decode,
    *,
    coarse_axis: int | None = None,
    convex: bool = False,
) -> NDArray[np.int16]:
    """Interpolate logits (C, *spatial) to another shape and decode them.

    Equal to ``decode(interpolate(logits, mode="trilinear", align_corners=False))``, but only a
    block exists at full resolution at a time. Arguments as in `LogitsResampler`.

    Returns
    -------
    int16 ndarray of shape (*shape,)
    """
    out = np.empty(tuple(int(m) for m in shape), dtype=np.int16)
    old = tuple(logits.shape[1:])
    LogitsResampler(old, shape, out, decode, coarse_axis=coarse_axis, convex=convex).push(0, logits)
    return out


def _taps(
    old: int, new: int, *, nearest: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the old voxels on both sides of each new one and the upper one's share.

    An upper voxel without a share is left out, so that no row waits for it.
    """
    lower, upper, share = linear_taps(old, new, nearest=nearest)
    return lower, np.where(share == 0, lower, upper), share


def _cuts(start: int, stop: int) -> list[slice]:
    """Cut a range into blocks."""
    return [slice(a, min(a + BLOCK, stop)) for a in range(start, stop, BLOCK)]


def _range(part: slice) -> NDArray[np.intp]:
    """Return the indices of a slice."""
    return np.arange(part.start, part.stop)


def _index(values: NDArray[np.int64], like: Tensor) -> Tensor:
    """Return indices on a tensor's device."""
    return torch.as_tensor(values, dtype=torch.int64, device=like.device)
