"""Score every rule that may be tried on one case."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.finished import ALL_FOREGROUND, PostprocessRule, RuleScores
from medseg.geometry.volume import Grid
from medseg.labels import IGNORE_INDEX, LabelScheme, Structure
from medseg.metrics.overlap import Counts, dice, overlap_counts
from medseg.postprocess.components import (
    Mask,
    fill_holes,
    foreground_box,
    keep_components,
    label_components,
    selected_components,
)
from medseg.postprocess.rules import apply_rules, surrounding

MIN_VOLUMES_ML = (0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Minimum volumes that are tried."""

CANDIDATES: tuple[tuple[bool, float, bool], ...] = tuple(
    (largest, volume, fill)
    for fill, largest, volume in itertools.product((False, True), (False, True), MIN_VOLUMES_ML)
)
"""Every rule that is tried: (keep_largest, min_volume_ml, fill_holes); the first does nothing."""

LARGEST_FOREGROUND = PostprocessRule(structure=ALL_FOREGROUND, keep_largest=True)
"""What is tried before any rule of a single structure."""


def case_scores(
    pred: NDArray[np.int16],
    label: NDArray[np.int16],
    scheme: LabelScheme,
    voxel_ml: float,
    annotated: Sequence[int] | None = None,
) -> RuleScores:
    """Score every candidate as `case_dice` does, before and after `LARGEST_FOREGROUND`."""
    plain = case_dice(pred, label, scheme, voxel_ml, annotated)
    kept = keep_components(pred > 0, keep_largest=True)
    if np.array_equal(kept, pred > 0):
        return RuleScores(plain=plain, after_foreground=plain)
    cleaned = np.where(kept, pred, np.int16(0))
    after = case_dice(cleaned, label, scheme, voxel_ml, annotated)
    return RuleScores(plain=plain, after_foreground=after)


def rule_effects(
    pred: NDArray[np.int16],
    label: NDArray[np.int16],
    grid: Grid,
    scheme: LabelScheme,
    rules: Sequence[PostprocessRule],
    annotated: Sequence[int] | None = None,
) -> dict[str, dict[str, float]]:
    """Return what each rule does to the Dice of every structure of one case.

    Parameters
    ----------
    pred, label, scheme, annotated
        As in `case_dice`.
    grid : Grid
    rules : sequence of PostprocessRule
        A rule for all foreground is applied before each of the others.

    Returns
    -------
    dict
        Structure of the rule to Dice per structure; under ``""`` that without the rules (but for
        the one for all foreground).
    """
    first = [rule for rule in rules if rule.structure == ALL_FOREGROUND]
    others = [rule for rule in rules if rule.structure != ALL_FOREGROUND]
    tried = {"": first, **{rule.structure: [*first, rule] for rule in others}}
    return {
        name: dice_of_all(apply_rules(pred, grid, scheme, some), label, scheme, annotated)
        for name, some in tried.items()
    }


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


def dice_of_all(
    pred: NDArray[np.int16],
    label: NDArray[np.int16],
    scheme: LabelScheme,
    annotated: Sequence[int] | None,
) -> dict[str, float]:
    """Return the Dice of every structure that the annotation covers whole."""
    counted = label != IGNORE_INDEX
    return {
        structure.name: dice(
            overlap_counts(
                np.isin(pred, structure.indices) & counted, np.isin(label, structure.indices)
            ),
            both_empty="perfect",
        )
        for structure in scheme.structures
        if annotated is None or set(structure.indices) <= set(annotated)
    }


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
