"""The fingerprint of a data set: spacings, sizes, foreground intensities (planning.md F1, F2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from medseg.artefacts import Fingerprint
from medseg.planning.examine import Examined
from medseg.planning.intensity import pool_intensities


def take_fingerprint(cases: Sequence[Examined]) -> Fingerprint:
    """Sum up the training cases.

    Parameters
    ----------
    cases : sequence of Examined
        Training cases, in case order; at least one.
    """
    shapes = [
        tuple(b - a for a, b in zip(case.content_start, case.content_stop, strict=True))
        for case in cases
    ]
    ratios = [prod(s) / prod(case.grid.shape) for s, case in zip(shapes, cases, strict=True)]
    sampled = [case for case in cases if case.samples is not None]
    return Fingerprint(
        spacings=tuple(case.grid.spacing for case in cases),
        shapes=tuple(shapes),
        crop_ratio=float(np.median(ratios)),
        intensities=pool_intensities(
            [np.load(case.samples) for case in sampled if case.samples is not None],
            [case.sample_ranges for case in sampled],
        ),
    )
