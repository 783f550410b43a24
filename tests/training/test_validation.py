from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from medseg.training.validation import (
    mean_dice,
    structure_dice,
    validate,
    voxels_to_predict,
)
from tests.training.made import make_case, make_scheme, make_task

LABEL = np.array([[0, 1, 1, 2, 2, -1]], dtype=np.int16)


def logits_for(pred: list[int], classes: int = 3) -> torch.Tensor:
    return torch.stack([torch.tensor([pred]) == c for c in range(classes)]).float()


def test_dice_by_hand_and_ignored_voxels():
    scores = structure_dice(logits_for([1, 1, 1, 2, 0, 2]), LABEL, make_scheme(), (1, 2))
    assert scores == pytest.approx([2 * 2 / 5, 2 * 1 / 3])


def test_empty_masks_and_missing_annotation_are_nan():
    nothing = np.zeros((1, 6), np.int16)
    scores = structure_dice(logits_for([0, 1, 0, 0, 0, 0]), nothing, make_scheme(), (1, 2))
    assert scores[0] == 0
    assert math.isnan(scores[1])
    scores = structure_dice(logits_for([0] * 6), LABEL, make_scheme(), (2,))
    assert math.isnan(scores[0])
    assert scores[1] == 0


def test_regions_are_scored_by_their_own_channel():
    logits = torch.tensor([[[-1.0, 2, 2, 2, -1, 5]], [[-1.0, -1, -1, 1, 1, 5]]])
    scores = structure_dice(logits, LABEL, make_scheme(regions=True), (1, 2))
    assert scores == pytest.approx([2 * 3 / 7, 1.0])


def test_means_leave_nan_out():
    scheme = make_scheme()
    means = mean_dice({"b": [1.0, math.nan], "a": [0.5, math.nan]}, scheme)
    assert means["left"] == 0.75
    assert math.isnan(means["right"])
    assert means["mean"] == 0.75
    assert math.isnan(mean_dice({}, scheme)["mean"])


def test_tiles_are_counted_with_their_overlap(tmp_path):
    case, _ = make_case(tmp_path, 0, size=16)
    assert voxels_to_predict(case, (16, 8)) == 16 * 3 * 8  # starts 0, 4, 8: steps of at most 6
    assert voxels_to_predict(case, (32, 16)) == 32 * 16


def test_whole_cases_are_scored_and_may_be_interrupted(tmp_path):
    task = make_task(tmp_path)

    class Threshold(nn.Module):
        """Classes by brightness: background -1, left 1, right 3."""

        def forward(self, image):
            return -torch.cat([(image - v).abs() for v in (-1.0, 1.0, 3.0)], dim=1)

    device, seen = torch.device("cpu"), []
    cases = task.validation
    scores = validate(Threshold(), cases, task.plan, device, "32-true", lambda: seen.append(1))
    assert len(seen) == len(scores) == len(cases)
    assert min(min(row) for row in scores.values()) > 0.95

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(Threshold(), cases, task.plan, device, "32-true", interrupt)
