"""Target spacing, the sizes it gives, and the axis that is resampled apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ANISOTROPY = 3.0
"""An axis this many times coarser than the others is treated apart (nnU-Net's threshold)."""

Tuples = Sequence[Sequence[float]]


def target_spacing(spacings: Tuples, shapes: Tuples) -> tuple[float, ...]:
    """Return the spacing to which a data set is brought (planning.md S1, S2).

    The median per axis; where one axis is more than three times coarser than the others and
    also has far fewer voxels, the 10th percentile of its spacings, so that the thin cases of the
    set are not blurred, yet never finer than the coarsest other axis.

    Parameters
    ----------
    spacings : sequence of sequences of float
        Spacing of each case in mm, one value per axis.
    shapes : sequence of sequences of int
        Shape of each case after the crop to content, same order.

    Returns
    -------
    tuple of float
        Spacing in mm.
    """
    target = np.median(np.asarray(spacings, dtype=float), axis=0)
    sizes = np.median(np.asarray(shapes, dtype=float), axis=0)
    coarse = int(np.argmax(target))
    others = np.delete(target, coarse)
    thin = sizes[coarse] * ANISOTROPY < np.delete(sizes, coarse).min()
    if target[coarse] > ANISOTROPY * others.max() and thin:
        fine = float(np.percentile(np.asarray(spacings, dtype=float)[:, coarse], 10))
        target[coarse] = others.max() + 1e-5 if fine < others.max() else fine
    return tuple(float(s) for s in target)


def median_shape(spacings: Tuples, shapes: Tuples, target: Sequence[float]) -> tuple[int, ...]:
    """Return the median over cases of the shape at the target spacing, in voxels.

    Halves are rounded to even, as NumPy does.
    """
    scaled = np.asarray(shapes, dtype=float) * np.asarray(spacings, dtype=float)
    sizes = np.median(np.round(scaled / np.asarray(target, dtype=float)), axis=0)
    return tuple(max(1, int(n)) for n in np.round(sizes))


def coarse_axis(*spacings: Sequence[float]) -> int | None:
    """Return the one axis that is more than three times coarser than the finest, if any.

    Parameters
    ----------
    *spacings : sequence of float
        Spacings in mm that are asked in turn: the source's, then the target's.

    Returns
    -------
    int or None
        Axis of the first spacing that is anisotropic; None where none is, or where the
        coarseness is shared by two axes.
    """
    for spacing in spacings:
        values = np.asarray(spacing, dtype=float)
        if values.max() > ANISOTROPY * values.min():
            largest = np.flatnonzero(np.isclose(values, values.max(), rtol=1e-3))
            return int(largest[0]) if len(largest) == 1 and len(values) > 2 else None
    return None
