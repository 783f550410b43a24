"""Validation: whole cases through the sliding window, scored on the resampled grid.

Every case has a Dice per structure. Photographs are judged by one confusion matrix over all their
pixels, as their benchmarks do: a class of few pixels then counts as much as any other, and one
that a picture does not have is no question of that picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.artefacts import Plan, ResampledCase
from medseg.errors import ConfigError
from medseg.inference.decode import decoder
from medseg.inference.precision import Precision
from medseg.inference.sliding import sliding_window
from medseg.inference.tiles import tile_starts
from medseg.inference.window import tiles_per_batch
from medseg.io.store import open_array
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.metrics.confusion import Matrix, confusion_matrix, confusion_scores
from medseg.metrics.overlap import Counts, dice, overlap_counts
from medseg.trained import Score

OVERLAP = 0.25
"""Of the tiles; inference takes 0.5, but a validation is repeated many times."""


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """What one validation case says."""

    dice: list[float]
    """Per structure; NaN where it is not annotated, or both masks are empty."""
    pixels: Matrix | None
    """Confusion matrix, background first; None for regions, which overlap, and where the annotation
    does not cover every label."""


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """What some validation cases say together."""

    dice: Mapping[str, list[float]]
    """Case id to Dice per structure."""
    pixels: Matrix
    """The sum of their confusion matrices."""


def choose_score(
    asked: Literal["auto", "dice", "miou"], scheme: LabelScheme, cases: Sequence[ResampledCase]
) -> Score:
    """Return what decides: auto is mIoU for photographs that it is defined for, else Dice.

    Parameters
    ----------
    asked : {"auto", "dice", "miou"}
    scheme : LabelScheme
    cases : sequence of ResampledCase
        Those that validate.

    Raises
    ------
    ConfigError
        If mIoU is asked for and regions overlap, or a case is annotated in part.
    """
    partly = [case.id for case in cases if not _covers_all(case.annotated, scheme)]
    if asked == "miou" and (scheme.regions or partly):
        why = (
            "regions overlap, so a voxel has no one class"
            if scheme.regions
            else f"the annotation of {partly[0]} does not cover every label"
        )
        raise ConfigError(f"train.score is miou, but {why}; choose dice, or auto")
    if asked != "auto":
        return asked
    photographs = all(len(case.grid.shape) == 2 for case in cases)
    return "miou" if photographs and not scheme.regions and not partly else "dice"


def score_case(
    network: nn.Module,
    case: ResampledCase,
    plan: Plan,
    device: torch.device,
    precision: Precision,
) -> CaseScores:
    """Return what one case says, structures in the order of ``plan.scheme.structures``."""
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
    return score_logits(logits, label, plan.scheme, case.annotated)


def score_logits(
    logits: Tensor, label: NDArray[np.int16], scheme: LabelScheme, annotated: Sequence[int]
) -> CaseScores:
    """Compare logits with a label.

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
    CaseScores
    """
    covered = set(annotated)
    if scheme.activation == "sigmoid":
        valid = label != IGNORE_INDEX
        counts = [
            overlap_counts(
                (logits[channel] > 0).cpu().numpy() & valid, np.isin(label, structure.indices)
            )
            for channel, structure in enumerate(scheme.structures)
        ]
        matrix = None
    else:
        index = decoder(scheme)(logits).cpu().numpy()
        matrix = count_pairs(index, label, scheme.num_classes)
        counts = [_counts_of(matrix, structure.indices) for structure in scheme.structures]
    return CaseScores(
        dice=[
            dice(found) if set(structure.indices) <= covered else math.nan
            for found, structure in zip(counts, scheme.structures, strict=True)
        ],
        pixels=matrix if _covers_all(annotated, scheme) else None,
    )


def count_pairs(pred: NDArray[np.int16], label: NDArray[np.int16], num_classes: int) -> Matrix:
    """Return the confusion matrix of a photograph or a volume.

    A volume is counted plane by plane: what is held in int64 stays small.
    """
    pair = (pred[np.newaxis], label[np.newaxis]) if pred.ndim == 2 else (pred, label)
    total = np.zeros((num_classes, num_classes), np.int64)
    for guess, truth in zip(*pair, strict=True):
        total += confusion_matrix(guess, truth, num_classes)
    return total


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


def pixel_scores(matrix: Matrix, scheme: LabelScheme) -> dict[str, float]:
    """Return the scores over all pixels of the set, named as the report's headline.

    Parameters
    ----------
    matrix : int64 ndarray of shape (K + 1, K + 1)
        Summed over the set; rows are the truth, background first.
    scheme : LabelScheme
        Of labels.

    Returns
    -------
    dict
        ``miou``, ``pixel_accuracy``, ``mean_accuracy``, ``fwiou`` and ``class_iou/<class>``; a
        class in neither truth nor prediction is NaN and in no mean. Ignored pixels do not count.
    """
    of_set = confusion_scores(matrix)
    first = 0 if scheme.has_background else 1
    names = scheme.output_names[first:]
    return {
        "miou": of_set.miou,
        "pixel_accuracy": of_set.pixel_accuracy,
        "mean_accuracy": of_set.mpa_recall,
        "fwiou": of_set.fwiou,
        **{
            f"class_iou/{name}": float(iou)
            for name, iou in zip(names, of_set.iou[first:], strict=True)
        },
    }


def validate(
    network: nn.Module,
    cases: Sequence[ResampledCase],
    plan: Plan,
    device: torch.device,
    precision: Precision,
    between: Callable[[], None],
) -> SetScores:
    """Score each case; ``between`` is called before each of them and may raise to stop."""
    dice = {}
    pixels = np.zeros((plan.scheme.num_classes, plan.scheme.num_classes), np.int64)
    for case in cases:
        between()
        found = score_case(network, case, plan, device, precision)
        dice[case.id] = found.dice
        if found.pixels is not None:
            pixels += found.pixels
    return SetScores(dice=dice, pixels=pixels)


def together(parts: Sequence[SetScores]) -> SetScores:
    """Join the scores of several processes, each of other cases."""
    dice = {case: row for part in parts for case, row in part.dice.items()}
    return SetScores(dice=dice, pixels=np.sum([part.pixels for part in parts], axis=0))


def _counts_of(matrix: Matrix, indices: Sequence[int]) -> Counts:
    """Count the voxels of a union of classes: true, falsely claimed, missed."""
    rows = list(indices)
    tp = int(matrix[np.ix_(rows, rows)].sum())
    return Counts(tp=tp, fp=int(matrix[:, rows].sum()) - tp, fn=int(matrix[rows].sum()) - tp)


def _covers_all(annotated: Sequence[int], scheme: LabelScheme) -> bool:
    """Tell whether an annotation covers every label."""
    return set(range(1, len(scheme.labels) + 1)) <= set(annotated)
