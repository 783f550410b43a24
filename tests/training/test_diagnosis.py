from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.io.store import open_array, write_array
from medseg.losses import build_loss
from medseg.training import rounds
from medseg.training.diagnosis import (
    Facts,
    counts_in_loss,
    diagnose,
    facts_of,
    largest_piece,
    stuck_at_zero,
)
from medseg.training.launch import train
from medseg.training.schedule import Budget
from tests.training.made import Recorder, make_scheme, make_task

SOUND = Facts(
    name="tumour",
    train_cases=20,
    train_with=9,
    validation_with=4,
    piece_voxels=120.0,
    spacing=(1.0, 1.0, 2.5),
    in_loss=True,
    drawn_share=0.1,
    foreground_share=0.33,
)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"train_cases": 0, "train_with": 0}, "no training case's annotation covers it"),
        ({"train_with": 0}, "none of the 20 training cases has a voxel of it at .* 1 x 1 x 2.5 mm"),
        ({"validation_with": 0}, "no validation case has it"),
        ({"in_loss": False}, "its weight is 0; look at the class weights in train.loss"),
        ({"drawn_share": 0.0}, "no counted training patch was centred on it"),
        ({"drawn_share": 0.0, "foreground_share": 0.0}, "foreground_share is 0,"),
        ({"piece_voxels": 1.0}, "hardly larger than a voxel: .* largest piece has 1 voxels"),
        ({"drawn_share": 0.004}, r"rarely shown: 0\.40%"),
        ({}, r"none of the usual causes: 9 training and 4 .*10\.0% of the patches"),
        ({"drawn_share": None}, "none of the usual causes"),
    ],
)
def test_each_cause_is_named(facts, said):
    text = diagnose(replace(SOUND, **facts))
    assert text.startswith("'tumour' stays at Dice 0 on validation: ")
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(text)


def test_a_label_that_is_nowhere_is_not_said_to_be_rarely_drawn():
    nowhere = replace(SOUND, train_with=0, drawn_share=0.0, piece_voxels=0.0, in_loss=False)
    assert "absent from the training split" in diagnose(nowhere)


def history(*dice: float, until: float = 1.0):
    count = len(dice)
    return [
        {"progress": until * (i + 1) / count, "val/dice/a": value} for i, value in enumerate(dice)
    ]


def test_three_zeros_in_a_row_late_enough_are_stuck():
    assert stuck_at_zero(history(0.0, 0.0, 0.0), "a")
    assert stuck_at_zero(history(0.5, 0.0, 0.0, 0.0), "a")
    assert not stuck_at_zero(history(0.0, 0.0), "a")
    assert not stuck_at_zero(history(0.0, 0.0, 0.01), "a")
    assert not stuck_at_zero(history(0.0, 0.0, 0.0, until=0.29), "a")
    assert not stuck_at_zero(history(0.0, float("nan"), 0.0), "a")  # not scored is not 0


@pytest.mark.parametrize("shape", [(8, 6), (4, 6, 5)])
def test_the_largest_piece_by_hand(shape):
    mask = np.zeros(shape, dtype=bool)
    assert largest_piece(mask) == 0
    mask[(0,) * len(shape)] = True
    assert largest_piece(mask) == 1
    mask[2:4, 3:6] = True
    assert largest_piece(mask) == 6 * int(np.prod(shape[2:]))


def test_a_weight_of_zero_is_seen_in_the_loss():
    scheme = make_scheme()
    left, right = scheme.structures
    settings = {"name": "cross_entropy", "class_weights": [1.0, 1.0, 0.0]}
    loss = build_loss(settings, "softmax", [(1,), (2,)], (1.0, 1.0))
    assert counts_in_loss(loss, left, scheme, (6, 6), CPU)
    assert not counts_in_loss(loss, right, scheme, (6, 6), CPU)


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_region_counts_in_a_plain_loss(ndim):
    scheme = make_scheme(regions=True)
    indices = [s.indices for s in scheme.structures]
    loss = build_loss({"name": "dice_ce"}, "sigmoid", indices, (1.0,) * ndim)
    for structure in scheme.structures:
        assert counts_in_loss(loss, structure, scheme, (4,) * ndim, CPU)


def test_facts_come_from_the_task(tmp_path):
    task = make_task(tmp_path, cases=6)
    (first, *others) = task.train
    scheme = task.plan.scheme
    locations = tuple(
        replace(row, voxels={1: row.voxels[1]}) if row.id == first.id else row
        for row in task.patches.locations
    )
    cases = (first, replace(others[0], annotated=(1,)), *others[1:])
    task = replace(task, train=cases, patches=replace(task.patches, locations=locations))
    loss = build_loss({"name": "dice_ce"}, "softmax", [(1,), (2,)], task.plan.spacing)
    drawn = {"left": 30, "right": 10, "anywhere": 60}
    facts = facts_of(scheme.structures[1], task, loss, CPU, drawn)
    assert (facts.train_cases, facts.train_with, facts.validation_with) == (2, 1, 3)
    assert facts.piece_voxels == (open_array(others[1].label).read_all() == 2).sum()
    assert facts.drawn_share == pytest.approx(0.1)
    assert facts.foreground_share == 0.5
    assert facts.in_loss
    assert facts_of(scheme.structures[1], task, loss, CPU, {}).drawn_share is None


def test_a_training_says_what_is_wrong_once_and_writes_it_down(tmp_path, caplog):
    task = make_task(tmp_path, budget=Budget(iterations=8), validations=8)
    for case in task.train:  # 'right' is nowhere in the training split
        label = open_array(case.label).read_all()
        write_array(case.label, np.where(label == 2, 0, label).astype(np.int16))
    locations = tuple(
        replace(row, voxels={1: row.voxels[1]}) if row.id in {c.id for c in task.train} else row
        for row in task.patches.locations
    )
    task = replace(task, patches=replace(task.patches, locations=locations))
    dice = {"left": 0.5, "right": 0.0, "mean": 0.25}
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(rounds, "mean_dice", lambda scores, scheme: dict(dice))
        train(task, Recorder())
    told = [r.message for r in caplog.records if "stays at Dice 0" in r.message]
    assert len(told) == 1
    assert "none of the 2 training cases has a voxel of it" in told[0]
    assert json.loads((task.folder / "diagnosis.json").read_text()) == {"right": told[0]}
