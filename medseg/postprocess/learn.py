"""Decide on the validation cases which rule, if any, makes a structure better."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.artefacts import PostprocessRule
from medseg.labels import IGNORE_INDEX, LabelScheme, Structure
from medseg.metrics.overlap import Counts, dice
from medseg.postprocess.components import (
    Mask,
    fill_holes,
    foreground_box,
    label_components,
    selected_components,
)
from medseg.postprocess.rules import surrounding

MIN_VOLUMES_ML = (0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Minimum volumes that are tried."""

LEAST_GAIN = 1e-4
"""A rule must raise the mean Dice by more than this."""

CANDIDATES: tuple[tuple[bool, float, bool], ...] = tuple(
    (largest, volume, fill)
    for fill, largest, volume in itertools.product((False, True), (False, True), MIN_VOLUMES_ML)
)
"""Every rule that is tried: (keep_largest, min_volume_ml, fill_holes); the first does nothing."""


def case_dice(
    pred: NDArray[np.int16],
    label: NDArray[np.int16],
    scheme: LabelScheme,
    voxel_ml: float,
    annotated: Sequence[int] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Score every candidate rule on every structure of one case.

    Each structure is judged for itself, as if no other rule were applied.

    Parameters
    ----------
    pred, label : int16 ndarray of the same shape
        Class indices; voxels where the label is ``IGNORE_INDEX`` do not count.
    scheme : LabelScheme
    voxel_ml : float
        Volume of a voxel in mL.
    annotated : sequence of int, optional
        Class indices the annotation covers; a structure that is not covered whole is left out.

    Returns
    -------
    dict
        Structure name to one Dice per entry of `CANDIDATES`; 1 where pred and label are both empty,
        so that removing a false alarm counts as the success it is.
    """
    return {
        structure.name: _structure_dice(
            np.isin(pred, structure.indices),
            _fillable(pred, structure, scheme),
            np.isin(label, structure.indices),
            label != IGNORE_INDEX,
            voxel_ml,
        )
        for structure in scheme.structures
        if annotated is None or set(structure.indices) <= set(annotated)
    }


def choose_rules(
    scores: Sequence[Mapping[str, Sequence[float]]], scheme: LabelScheme
) -> tuple[PostprocessRule, ...]:
    """Adopt per structure the rule with the best mean Dice, if it is a real gain.

    A rule is adopted where it raises the mean Dice over the cases by more than `LEAST_GAIN` and
    does not lower the median: a gain that one case alone pays for is no reason to touch the others.
    Of rules that are equally good the one that does least is taken.

    Parameters
    ----------
    scores : sequence of mapping
        What `case_dice` returned for each validation case.
    scheme : LabelScheme

    Returns
    -------
    tuple of PostprocessRule
        One per structure that some case scores, in table order; a rule that changes nothing says
        by ``dice_before == dice_after`` that nothing was better.
    """
    rules = []
    for structure in scheme.structures:
        table = [case[structure.name] for case in scores if structure.name in case]
        if table:
            rules.append(_choose(structure.name, list(zip(*table, strict=True))))
    return tuple(rules)


def _choose(structure: str, candidates: Sequence[Sequence[float]]) -> PostprocessRule:
    """Choose among the candidates' Dice values (one sequence over the cases each)."""
    before = statistics.fmean(candidates[0])
    median = statistics.median(candidates[0])
    best, best_mean = 0, before + LEAST_GAIN
    for i, row in enumerate(candidates):  # simplest first, so a tie changes nothing
        if statistics.fmean(row) > best_mean + 1e-12 and statistics.median(row) >= median - 1e-12:
            best, best_mean = i, statistics.fmean(row)
    keep_largest, min_volume_ml, fill = CANDIDATES[best]
    return PostprocessRule(
        structure=structure,
        keep_largest=keep_largest,
        min_volume_ml=min_volume_ml,
        fill_holes=fill,
        dice_before=before,
        dice_after=statistics.fmean(candidates[best]),
    )


def _structure_dice(
    mask: Mask, fillable: Mask, truth: Mask, counted: Mask, voxel_ml: float
) -> tuple[float, ...]:
    """Score all candidates on one mask; equal selections of components are scored once."""
    box = foreground_box(mask)
    truth_voxels = int(np.count_nonzero(truth & counted))
    if box is None:
        missed = Counts(tp=0, fp=0, fn=truth_voxels)
        return (dice(missed, both_empty="perfect"),) * len(CANDIDATES)
    labels, sizes = label_components(mask[box])
    fillable, truth, counted = fillable[box], truth[box], counted[box]
    known: dict[tuple[bytes, bool], float] = {}
    scores = []
    for keep_largest, min_volume_ml, fill in CANDIDATES:
        min_voxels = min_volume_ml / voxel_ml * (1 - 1e-9)
        stays = selected_components(sizes, keep_largest=keep_largest, min_voxels=min_voxels)
        key = (stays.tobytes(), fill)
        if key not in known:
            kept = stays[labels]
            if fill:
                kept |= fill_holes(kept) & (fillable | mask[box])
            kept &= counted
            tp = int(np.count_nonzero(kept & truth))
            wrong = int(np.count_nonzero(kept)) - tp
            counts = Counts(tp=tp, fp=wrong, fn=truth_voxels - tp)
            known[key] = dice(counts, both_empty="perfect")
        scores.append(known[key])
    return tuple(scores)


def _fillable(pred: NDArray[np.int16], structure: Structure, scheme: LabelScheme) -> Mask:
    """Mark the voxels that filling a hole of a structure may change."""
    free: Mask = np.isin(pred, (0, surrounding(structure, scheme)))
    return free
