from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.labels import IGNORE_INDEX, Label, LabelScheme
from medseg.training import clock, rounds
from medseg.training.launch import train
from medseg.training.schedule import Budget
from medseg.training.validation import (
    SetScores,
    choose_score,
    count_pairs,
    mean_dice,
    pixel_scores,
    score_logits,
    together,
    validate,
    voxels_to_predict,
)
from tests.training.made import Recorder, make_case, make_scheme, make_task

LABEL = np.array([[0, 1, 1, 2, 2, -1]], dtype=np.int16)


def logits_for(pred: list[int], classes: int = 3) -> torch.Tensor:
    return torch.stack([torch.tensor([pred]) == c for c in range(classes)]).float()


def dice_of(*args):
    return score_logits(*args).dice


def test_dice_by_hand_and_ignored_voxels():
    scores = dice_of(logits_for([1, 1, 1, 2, 0, 2]), LABEL, make_scheme(), (1, 2))
    assert scores == pytest.approx([2 * 2 / 5, 2 * 1 / 3])


def test_empty_masks_and_missing_annotation_are_nan():
    nothing = np.zeros((1, 6), np.int16)
    scores = dice_of(logits_for([0, 1, 0, 0, 0, 0]), nothing, make_scheme(), (1, 2))
    assert scores[0] == 0
    assert math.isnan(scores[1])
    scores = dice_of(logits_for([0] * 6), LABEL, make_scheme(), (2,))
    assert math.isnan(scores[0])
    assert scores[1] == 0


def test_regions_are_scored_by_their_own_channel():
    logits = torch.tensor([[[-1.0, 2, 2, 2, -1, 5]], [[-1.0, -1, -1, 1, 1, 5]]])
    scores = dice_of(logits, LABEL, make_scheme(regions=True), (1, 2))
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
    assert len(seen) == len(scores.dice) == len(cases)
    assert min(min(row) for row in scores.dice.values()) > 0.95

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(Threshold(), cases, task.plan, device, "32-true", interrupt)


STREET = LabelScheme(
    labels=tuple(Label(value=i, name=n) for i, n in enumerate(("road", "sky", "pole"), start=1)),
    label_map={"0": "road", "1": "sky", "2": "pole", "255": "ignore"},
)


def street(*pairs):
    """Score pictures of one row, given as (prediction, truth)."""
    return sum(
        score_logits(logits_for(p, 4), np.array([t], np.int16), STREET, (1, 2, 3)).pixels
        for p, t in pairs
    )


def test_set_scores_by_hand_count_a_small_class_as_much_as_any():
    found = street(
        ([1, 1, 2, 2, 1, 1], [1, 1, 2, 2, 3, IGNORE_INDEX]),  # the pole is missed
        ([1, 2, 2, 2, 3, 3], [1, 1, 2, 2, 3, 2]),
    )
    scores = pixel_scores(found, STREET)
    assert scores["class_iou/road"] == pytest.approx(3 / 5)
    assert scores["class_iou/sky"] == pytest.approx(4 / 6)
    assert scores["class_iou/pole"] == pytest.approx(1 / 3)
    assert scores["miou"] == pytest.approx((3 / 5 + 4 / 6 + 1 / 3) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(8 / 11)
    assert scores["mean_accuracy"] == pytest.approx((3 / 4 + 4 / 5 + 1 / 2) / 3)
    assert scores["fwiou"] == pytest.approx((4 * 3 / 5 + 5 * 4 / 6 + 2 / 3) / 11)
    assert "class_iou/background" not in scores  # no pixel of a street is without a class
    absent = pixel_scores(street(([1, 1, 2], [1, 1, 2])), STREET)
    assert absent["miou"] == 1  # a class that neither occurs nor is predicted is in no mean
    assert math.isnan(absent["class_iou/pole"])


def test_background_is_a_class_where_pixels_are_of_none():
    found = score_logits(logits_for([0, 0, 1, 1]), LABEL[:, :4], make_scheme(), (1, 2)).pixels
    scores = pixel_scores(found, make_scheme())  # truth 0, 1, 1, 2
    assert scores["class_iou/background"] == pytest.approx(1 / 2)
    assert scores["class_iou/left"] == pytest.approx(1 / 3)
    assert scores["miou"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)


def test_scores_of_several_processes_are_joined():
    counts = np.array([[3, 1], [0, 2]], np.int64)
    parts = [SetScores(dice={name: [0.5]}, pixels=counts) for name in "ab"]
    assert together(parts).dice == {"a": [0.5], "b": [0.5]}
    assert together(parts).pixels.tolist() == [[6, 2], [0, 4]]


@pytest.mark.parametrize("shape", [(7, 9), (5, 7, 9)])
def test_pairs_are_counted_as_one_by_one(shape):
    rng = np.random.default_rng(0)
    pred = rng.integers(0, 3, shape).astype(np.int16)
    label = rng.integers(-1, 3, shape).astype(np.int16)
    expected = np.zeros((3, 3), np.int64)
    for truth, guess in zip(label.ravel(), pred.ravel(), strict=True):
        if truth != IGNORE_INDEX:
            expected[truth, guess] += 1
    assert (count_pairs(pred, label, 3) == expected).all()


def test_what_decides_by_default_and_when_asked(tmp_path):
    photographs = make_task(tmp_path / "p").validation
    volumes = make_task(tmp_path / "v", ndim=3, size=8).validation
    labels, regions = make_scheme(), make_scheme(regions=True)
    assert choose_score("auto", labels, photographs) == "miou"
    assert choose_score("auto", labels, volumes) == "dice"
    assert choose_score("auto", regions, photographs) == "dice"
    assert choose_score("dice", labels, photographs) == "dice"
    assert choose_score("miou", labels, volumes) == "miou"
    partly = [replace(photographs[0], annotated=(1,)), *photographs[1:]]
    assert choose_score("auto", labels, partly) == "dice"
    with pytest.raises(ConfigError, match=r"train\.score is miou, but .* of case0 does not cover"):
        choose_score("miou", labels, partly)
    with pytest.raises(ConfigError, match="regions overlap"):
        choose_score("miou", regions, photographs)


def test_the_step_of_the_best_miou_is_kept_whatever_dice_says(tmp_path, monkeypatch):
    """A small class found late raises mIoU while the mean over pictures falls."""
    dice, miou = iter((0.9, 0.8, 0.7)), iter((0.3, 0.6, 0.5))
    counted = []

    def of_set(matrix, scheme):
        counted.append(pixel_scores(matrix, scheme))
        return {**counted[-1], "miou": next(miou)}

    monkeypatch.setattr(
        rounds, "mean_dice", lambda *_: dict.fromkeys(("left", "right", "mean"), next(dice))
    )
    monkeypatch.setattr(rounds, "pixel_scores", of_set)
    recipe = {"budget": Budget(iterations=6), "validations": 3, "score": "miou"}
    task, monitor = make_task(tmp_path, **recipe), Notes()
    state = train(task, monitor)
    assert (state.best_step, state.best) == (4, ("mIoU", 0.6))
    assert state.course() == [0.3, 0.6, 0.5]
    logged = [m["val/miou"] for _, m in monitor.metrics if "val/miou" in m]
    assert logged == [0.3, 0.6, 0.5]
    assert [row["val/class_iou/left"] for row in state.history] == pytest.approx(
        [one["class_iou/left"] for one in counted], nan_ok=True
    )
    assert not any("best Dice" in note for note in monitor.notes)


class Notes(Recorder):
    """Also keeps what is written beside the bar."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def advance(self, amount, note):
        super().advance(amount, note)
        self.notes.append(note)


def test_the_bar_names_the_score_that_decides(tmp_path, monkeypatch):
    seconds = iter(range(10**6))
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    for score, words in (("miou", "best mIoU 0."), ("dice", "best Dice 0.")):
        recipe = {"budget": Budget(iterations=3), "validations": 3, "score": score}
        monitor = Notes()
        train(make_task(tmp_path / score, **recipe), monitor)
        assert any(words in note for note in monitor.notes)
