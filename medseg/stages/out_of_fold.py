"""The validation cases with a reference: what is learned of predictions is learned of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from medseg.artefacts import IngestedCase, PredictedCase
from medseg.finished import SegmentedCase
from medseg.labels import LabelScheme
from medseg.stages.ingest import bare_case

BYTES_PER_VOXEL = 40
"""Peak memory of one case: prediction, components, masks, and the image while it is read."""


def out_of_fold(
    ingested: Mapping[str, IngestedCase],
    predictions: Iterable[PredictedCase | SegmentedCase],
    scheme: LabelScheme,
) -> dict[str, dict[str, Any]]:
    """Return what scoring takes of each validation case that has a reference.

    Their predictions are by networks that did not train on them.

    Parameters
    ----------
    ingested : mapping of str to IngestedCase
    predictions : iterable of PredictedCase or SegmentedCase
    scheme : LabelScheme

    Returns
    -------
    dict
        Case id to ``pred``, ``case``, ``digest`` and ``scheme``.
    """
    return {
        one.id: {
            "pred": one.pred,
            "case": bare_case(ingested[one.id].case),
            "digest": ingested[one.id].digest,
            "scheme": scheme,
        }
        for one in predictions
        if one.split == "train" and ingested[one.id].case.label
    }


def scoring_memory(cases: Iterable[IngestedCase]) -> int:
    """Estimate the memory that scoring the largest case needs, in bytes."""
    return BYTES_PER_VOXEL * max(math.prod(one.grid.shape) for one in cases)
