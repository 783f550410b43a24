"""Why a structure stays at Dice 0: in words, with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray

from medseg.artefacts import ResampledCase
from medseg.io.store import open_array
from medseg.labels import LabelScheme, Structure
from medseg.losses import Loss
from medseg.metrics.components import CONNECTIVITY
from medseg.training.task import Task

LEAST_VALIDATIONS, LEAST_PROGRESS = 3, 0.3
"""A Dice of 0 is normal before so many validations in a row and so much of the budget."""
RARE = 0.01
"""Share of patches centred on a structure under which it is rarely seen."""
LOOKED_AT = 5
"""Training cases whose components are measured."""
SURE = 10.0
"""Logit of a voxel that is sure."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one structure in one training."""

    name: str
    train_cases: int
    """Training cases whose annotation covers it."""
    train_with: int
    """Of those, the ones that have a voxel of it on the resampled grid."""
    validation_with: int
    """Validation cases that have a voxel of it."""
    piece_voxels: float
    """Voxels of its largest connected piece, median over some training cases that have it."""
    spacing: tuple[float, ...]
    """Of the resampled grid, in mm."""
    in_loss: bool
    """Whether the loss is higher where the structure is predicted as background."""
    drawn_share: float | None
    """Share of the training patches that were centred on it; None where none was counted."""
    foreground_share: float


def stuck_at_zero(history: Sequence[Mapping[str, float]], name: str) -> bool:
    """Tell whether a structure's Dice was 0 in the last three validations or more, 30 % in."""
    recent = [row[f"val/dice/{name}"] for row in history[-LEAST_VALIDATIONS:]]
    return (
        len(recent) == LEAST_VALIDATIONS
        and all(value == 0 for value in recent)
        and history[-1]["progress"] >= LEAST_PROGRESS
    )


def diagnose(facts: Facts) -> str:
    """Return the first cause that fits, and its cure.

    The order is that of the road of a label: annotated at all, there at the planned spacing, there
    to be scored, counted in the loss, shown to the network.
    """
    f = facts
    voxel = " x ".join(f"{size:g}" for size in f.spacing)
    if f.train_cases == 0:
        why = (
            "no training case's annotation covers it; annotate it in some, or take it out of the "
            "manifest's labels"
        )
    elif f.train_with == 0:
        why = (
            f"none of the {f.train_cases} training cases has a voxel of it at the planned spacing "
            f"of {voxel} mm: it is absent from the training split, or lost in resampling; divide "
            "the cases anew (manifest 'splits'), or set resample.spacing finer"
        )
    elif f.validation_with == 0:
        why = (
            "no validation case has it, so every voxel predicted as it counts as wrong: its Dice "
            "says nothing here; use more validation cases or another fold (train.folds)"
        )
    elif not f.in_loss:
        why = (
            "the loss is the same when it is predicted as background: its weight is 0; look at the "
            "class weights in train.loss"
        )
    elif f.drawn_share == 0:
        why = (
            f"no counted training patch was centred on it (patch_sample.foreground_share is "
            f"{f.foreground_share:g}, {f.train_with} of {f.train_cases} training cases have it); "
            "set foreground_share higher, or patch_sample.balance=dataset"
        )
    elif f.piece_voxels < 2 ** len(f.spacing):
        why = (
            f"it is hardly larger than a voxel: at {voxel} mm its largest piece has "
            f"{f.piece_voxels:g} voxels (median); set resample.spacing finer"
        )
    elif f.drawn_share is not None and f.drawn_share < RARE:
        why = (
            f"it is rarely shown: {f.drawn_share:.2%} of the training patches were centred on it; "
            "set patch_sample.balance=dataset or patch_sample.foreground_share higher"
        )
    else:
        drawn = "" if f.drawn_share is None else f", {f.drawn_share:.1%} of the patches show it"
        why = (
            f"none of the usual causes: {f.train_with} training and {f.validation_with} validation "
            f"cases have it, its largest piece has {f.piece_voxels:g} voxels{drawn}; look at its "
            "annotation in the report's case pages, or train longer"
        )
    return f"'{f.name}' stays at Dice 0 on validation: {why}"


def facts_of(
    structure: Structure,
    task: Task,
    loss: Loss,
    device: torch.device,
    drawn: Mapping[str, int],
) -> Facts:
    """Gather what `diagnose` needs.

    Parameters
    ----------
    structure : Structure
    task : Task
    loss : Loss
        On ``device``.
    device : torch.device
    drawn : mapping
        Label name, and ``anywhere``, to the number of patches centred on it.
    """
    indices, scheme = structure.indices, task.plan.scheme
    voxels = {row.id: row.voxels for row in task.patches.locations}

    def has(case: ResampledCase) -> bool:
        if case.id in voxels:
            return any(voxels[case.id].get(index, 0) for index in indices)
        return bool(np.isin(_label(case), indices).any())  # validates, but is never drawn from

    covering = [c for c in task.train if set(indices) <= set(c.annotated)]
    holding = [c for c in covering if has(c)]
    pieces = [largest_piece(np.isin(_label(c), indices)) for c in holding[:LOOKED_AT]]
    names = [scheme.labels[index - 1].name for index in indices]
    total = sum(drawn.values())
    return Facts(
        name=structure.name,
        train_cases=len(covering),
        train_with=len(holding),
        validation_with=sum(has(c) for c in task.validation if set(indices) <= set(c.annotated)),
        piece_voxels=float(median(pieces)) if pieces else 0.0,
        spacing=task.plan.spacing,
        in_loss=counts_in_loss(loss, structure, scheme, task.plan.patch_size, device),
        drawn_share=sum(drawn.get(name, 0) for name in names) / total if total else None,
        foreground_share=task.patches.foreground_share,
    )


def largest_piece(mask: NDArray[np.bool_]) -> int:
    """Return the number of voxels of the largest connected component; 0 for an empty mask."""
    if not mask.any():
        return 0
    parts = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=CONNECTIVITY[mask.ndim]
    )
    return int(np.bincount(parts.ravel())[1:].max())


@torch.no_grad()
def counts_in_loss(
    loss: Loss,
    structure: Structure,
    scheme: LabelScheme,
    shape: Sequence[int],
    device: torch.device,
) -> bool:
    """Tell whether a loss rises when a structure is predicted as background.

    The first half of a made-up patch is the structure; one prediction is right and sure
    everywhere, the other takes the structure's voxels for background.
    """
    index, position = structure.indices[0], scheme.structures.index(structure)
    label = torch.zeros((1, *shape), dtype=torch.int16, device=device)
    flat = label.view(-1)
    flat[: math.ceil(len(flat) / 2)] = index
    inside = label == index  # (1, *shape)
    right = torch.full((1, scheme.num_classes, *shape), -SURE, device=device)
    if scheme.activation == "sigmoid":
        for channel, other in enumerate(scheme.structures):
            right[:, channel][inside] = SURE if index in other.indices else -SURE
        wrong = right.clone()
        wrong[:, position][inside] = -SURE
    else:
        right[:, index][inside] = SURE
        right[:, 0][~inside] = SURE
        wrong = right.clone()
        wrong[:, index][inside] = -SURE
        wrong[:, 0][inside] = SURE
    return float(loss(wrong, label)) - float(loss(right, label)) > 1e-6


def _label(case: ResampledCase) -> NDArray[np.int16]:
    """Read a case's label."""
    assert case.label is not None  # only annotated cases train and validate
    label: NDArray[np.int16] = open_array(case.label).read_all()
    return label
