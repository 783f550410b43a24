"""Crops that are not all road: a patch that one class fills is drawn again elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.labels import IGNORE_INDEX
from medseg.sampling.box import Readable, cut
from medseg.sampling.sampler import PatchRef, PatchSampler

TRIES = 10
"""Places that are looked at; the last one is taken whatever it holds."""


def draw_varied(
    sampler: PatchSampler, number: int, label_of: Callable[[str], tuple[Readable, Sequence[int]]]
) -> PatchRef:
    """Return patch ``number``, moved within its case while one class fills it.

    As long as the largest class has more than ``sampler.cat_max_ratio`` of the annotated voxels,
    another place of the same case (and centred on the same class, where the patch is) is drawn, at
    most `TRIES` places in all. The result is a function of the seed, the number and the labels
    alone, like `PatchSampler.draw`.

    Parameters
    ----------
    sampler : PatchSampler
        A ``cat_max_ratio`` of 1 looks at no label.
    number : int
    label_of : callable
        Case id to the label's array and its spatial shape.

    References
    ----------
    .. [1] Contributors of MMSegmentation, ``RandomCrop(cat_max_ratio=0.75)``.
    """
    ref = sampler.draw(number)
    if sampler.cat_max_ratio >= 1:
        return ref
    label, shape = label_of(ref.case)
    for attempt in range(1, TRIES):
        patch = cut(label, ref.start, sampler.patch_size, shape, fill=IGNORE_INDEX, dtype=np.int16)
        if largest_share(patch) <= sampler.cat_max_ratio:
            break
        ref = sampler.draw(number, attempt)
    return ref


def largest_share(label: NDArray[Any]) -> float:
    """Return the share of the most frequent class index among those not ignored.

    1 where all is ignored: such a patch teaches nothing.

    Examples
    --------
    >>> largest_share(np.array([[2, 2, 2, 1], [-1, -1, -1, -1]]))
    0.75
    """
    counts = np.bincount(label[label != IGNORE_INDEX].ravel())
    return float(counts.max() / counts.sum()) if counts.size else 1.0
