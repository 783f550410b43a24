"""Compare exported graphs with the network they were made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ExportError
from medseg.export.document import Check
from medseg.inference.predictor import Predictor

LOGIT_TOLERANCE, MASK_TOLERANCE = 1e-3, 0.999
"""Largest logit difference (times the largest logit above 1), smallest share of equal voxels."""
TILES_PER_AXIS = 2
"""The check predicts the middle of the image, this many tiles wide: minutes at most."""


@dataclass(frozen=True, kw_only=True)
class CheckImage:
    """What both are asked to predict."""

    name: str
    """What it is, for export.json."""
    image: NDArray[np.float32]
    """Network input of shape (C, *spatial): normalised, at the planned spacing."""


def noise(channels: int, patch_size: tuple[int, ...]) -> CheckImage:
    """Return seeded noise, one and a half tiles wide, where there is no image to be had."""
    shape = (channels, *(p if p == 1 else p + p // 2 for p in patch_size))
    data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return CheckImage(name="seeded noise, no real image", image=data)


def compare(
    eager: Predictor,
    exported: Predictor,
    image: CheckImage,
    *,
    logit_tolerance: float = LOGIT_TOLERANCE,
    mask_tolerance: float = MASK_TOLERANCE,
) -> Check:
    """Predict an image with both and measure how far the logits and the masks agree.

    Parameters
    ----------
    eager, exported : Predictor
        With the same settings, in float32.
    image : CheckImage
        Of a large one the middle is taken.

    Raises
    ------
    ExportError
        If the network itself gives NaN on the image: nothing can be told from it.
    """
    part = _middle(image.image, eager.patch_size)
    own, other = eager.logits(part), exported.logits(part)
    largest = float(own.abs().max())
    if not math.isfinite(largest):
        raise ExportError(
            f"export check: the network's own output on {image.name} is not finite; give another "
            "image with --check"
        )
    same = (eager.decode(own) == exported.decode(other)).float().mean()
    return Check(
        on=image.name,
        shape=part.shape,
        max_logit_difference=float((own - other).abs().max()),
        largest_logit=largest,
        mask_agreement=float(same),
        logit_tolerance=logit_tolerance,
        mask_tolerance=mask_tolerance,
    )


def _middle(image: NDArray[np.float32], patch_size: tuple[int, ...]) -> NDArray[np.float32]:
    """Cut the middle out of an image, at most `TILES_PER_AXIS` tiles wide."""
    keep = [min(n, TILES_PER_AXIS * p) for n, p in zip(image.shape[1:], patch_size, strict=True)]
    box = (
        slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(image.shape[1:], keep, strict=True)
    )
    part: NDArray[np.float32] = image[(slice(None), *box)]
    return part
