"""Validation: whole cases through the sliding window, Dice per structure on the resampled grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.artefacts import Plan, ResampledCase
from medseg.inference.decode import decoder
from medseg.inference.precision import Precision
from medseg.inference.predictor import tiles_per_batch
from medseg.inference.sliding import sliding_window
from medseg.inference.tiles import tile_starts
from medseg.io.store import open_array
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.metrics.overlap import dice, overlap_counts

OVERLAP = 0.25
"""Of the tiles; inference takes 0.5, but a validation is repeated many times."""


def score_case(
    network: nn.Module,
    case: ResampledCase,
    plan: Plan,
    device: torch.device,
    precision: Precision,
) -> list[float]:
    """Return one case's Dice per structure, in the order of ``plan.scheme.structures``.

    NaN where the annotation does not cover a structure, or both masks are empty.
    """
    assert case.label is not None  # only annotated cases validate
    image = torch.from_numpy(open_array(case.image).read_all())
    logits = sliding_window(
        network,
        image,
        patch_size=plan.patch_size,
        overlap=OVERLAP,
        batch_size=tiles_per_batch("auto", plan.patch_size, device),
        device=device,
        precision=precision,
    )
    label = open_array(case.label).read_all()
    return structure_dice(logits, label, plan.scheme, case.annotated)


def structure_dice(
    logits: Tensor, label: NDArray[np.int16], scheme: LabelScheme, annotated: Sequence[int]
) -> list[float]:
    """Return the Dice of each structure.

    Parameters
    ----------
    logits : float Tensor of shape (C, *spatial)
    label : int16 ndarray of shape (*spatial,)
        Class indices; voxels of `IGNORE_INDEX` do not count.
    scheme : LabelScheme
    annotated : sequence of int
        Class indices that the annotation covers.

    Returns
    -------
    list of float
        `medseg.metrics.overlap.dice`; NaN where a structure is not annotated, or both masks are
        empty.
    """
    valid = label != IGNORE_INDEX
    index = decoder(scheme)(logits).cpu().numpy()
    scores = []
    for channel, structure in enumerate(scheme.structures):
        if not set(structure.indices) <= set(annotated):
            scores.append(math.nan)
            continue
        if scheme.activation == "sigmoid":
            pred = (logits[channel] > 0).cpu().numpy() & valid
        else:
            pred = np.isin(index, structure.indices) & valid
        scores.append(dice(overlap_counts(pred, np.isin(label, structure.indices))))
    return scores


def voxels_to_predict(case: ResampledCase, patch_size: Sequence[int]) -> int:
    """Count the voxels of all tiles of a case, overlaps included."""
    tiles = [
        len(tile_starts(max(n, p), p, OVERLAP)) * p
        for n, p in zip(case.grid.shape, patch_size, strict=True)
    ]
    return math.prod(tiles)


def mean_dice(scores: Mapping[str, Sequence[float]], scheme: LabelScheme) -> dict[str, float]:
    """Return the mean over cases of each structure's Dice, and their mean as ``mean``.

    Parameters
    ----------
    scores : mapping
        Case id to Dice per structure; NaN is left out of the means.
    scheme : LabelScheme
    """
    means = {}
    for i, structure in enumerate(scheme.structures):
        known = [row[i] for _, row in sorted(scores.items()) if not math.isnan(row[i])]
        means[structure.name] = sum(known) / len(known) if known else math.nan
    known = [value for value in means.values() if not math.isnan(value)]
    return {**means, "mean": sum(known) / len(known) if known else math.nan}


def validate(
    network: nn.Module,
    cases: Sequence[ResampledCase],
    plan: Plan,
    device: torch.device,
    precision: Precision,
    between: Callable[[], None],
) -> dict[str, list[float]]:
    """Score each case; ``between`` is called before each of them and may raise to stop."""
    scores = {}
    for case in cases:
        between()
        scores[case.id] = score_case(network, case, plan, device, precision)
    return scores
