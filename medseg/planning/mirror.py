"""Which axes may be flipped without making a picture that cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterable

SIDE = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)", re.IGNORECASE)


def plan_mirror_axes(names: Iterable[str], ndim: int) -> tuple[int, ...]:
    """Return the axes along which left and right may change places.

    A body is about symmetric from left to right and in no other direction: axis 0 of a canonical
    volume, the columns (axis 1) of a photograph. Where a label says *left* or *right*, a flip
    would make its name wrong, so nothing is mirrored.

    Parameters
    ----------
    names : iterable of str
        Names of all labels and regions.
    ndim : int
        Dimension of the data.

    Examples
    --------
    >>> plan_mirror_axes(["liver", "tumour"], 3)
    (0,)
    >>> plan_mirror_axes(["kidney_left", "kidney_right"], 3)
    ()
    """
    if any(SIDE.search(name) for name in names):
        return ()
    return (0,) if ndim == 3 else (1,)
