from __future__ import annotations

import numpy as np
import pytest

from medseg.artefacts import PostprocessRule
from medseg.geometry.volume import Grid
from medseg.labels import IGNORE_INDEX, Label, LabelScheme, Region
from medseg.postprocess.learn import CANDIDATES, case_dice, choose_rules
from medseg.postprocess.rules import apply_rules

SCHEME = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=2, name="tumour")))
REGIONS = LabelScheme(
    labels=SCHEME.labels,
    regions=(
        Region(name="all", labels=("liver", "tumour")),
        Region(name="tumour", labels=("tumour",)),
    ),
)
NOTHING = CANDIDATES.index((False, 0.0, False))
LARGEST = CANDIDATES.index((True, 0.0, False))
FILL = CANDIDATES.index((False, 0.0, True))


def island_case():
    """A liver of 4 voxels, found whole, and a false island of 2: Dice 2*4/(6+4)."""
    label = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]], dtype=np.int16)
    pred = label.copy()
    pred[:, 4] = 1
    return pred, label


def test_dice_of_candidates_by_hand():
    pred, label = island_case()
    dice = case_dice(pred, label, SCHEME, voxel_ml=0.1)["liver"]
    assert dice[NOTHING] == pytest.approx(0.8)
    assert dice[LARGEST] == 1
    assert dice[FILL] == pytest.approx(0.8)
    assert dice[CANDIDATES.index((False, 0.1, False))] == pytest.approx(0.8)  # island is 0.2 mL
    assert dice[CANDIDATES.index((False, 0.5, False))] == 0  # the liver is 0.4 mL


def test_doing_nothing_is_the_first_candidate():
    assert NOTHING == 0


def test_hole_filling_leaves_other_labels():
    label = np.full((3, 4), 1, dtype=np.int16)
    label[1, 1:3] = [1, 2]
    pred = label.copy()
    pred[1, 1] = 0
    dice = case_dice(pred, label, SCHEME, voxel_ml=0.001)
    assert dice["liver"][NOTHING] == pytest.approx(2 * 10 / 21)
    assert dice["liver"][FILL] == 1
    assert dice["tumour"][NOTHING] == 1


def test_false_alarm_and_both_empty():
    pred = np.array([[0, 2]], dtype=np.int16)
    dice = case_dice(pred, np.zeros_like(pred), SCHEME, voxel_ml=0.02)
    assert dice["liver"] == (1.0,) * len(CANDIDATES)
    assert dice["tumour"][NOTHING] == 0
    assert dice["tumour"][CANDIDATES.index((False, 0.05, False))] == 1


def test_ignored_voxels_do_not_count():
    pred, label = island_case()
    label[:, 4] = IGNORE_INDEX
    assert case_dice(pred, label, SCHEME, voxel_ml=0.1)["liver"][NOTHING] == 1


def test_structure_without_annotation_is_left_out():
    pred, label = island_case()
    assert set(case_dice(pred, label, SCHEME, 0.1, annotated=(2,))) == {"tumour"}


@pytest.mark.parametrize("shape", [(20, 18), (12, 11, 10)])
def test_scores_agree_with_the_rules_themselves(shape):
    """Every candidate: Dice of the mask that `apply_rules` gives."""
    rng = np.random.default_rng(3)
    share = 0.45 if len(shape) == 2 else 0.12  # so that there are many components
    pred = (rng.random(shape) < share).astype(np.int16)
    label = (rng.random(shape) < 0.5).astype(np.int16)
    pred[0] = 2
    grid = Grid.of(shape, np.diag([3.0] * len(shape) + [1.0]))
    dice = case_dice(pred, label, SCHEME, grid.voxel_volume_ml)["liver"]
    assert len(set(dice)) > 3
    for (largest, volume, fill), found in zip(CANDIDATES, dice, strict=True):
        rule = PostprocessRule(
            structure="liver", keep_largest=largest, min_volume_ml=volume, fill_holes=fill
        )
        out = apply_rules(pred, grid, SCHEME, [rule]) == 1
        truth = label == 1
        assert found == pytest.approx(2 * (out & truth).sum() / (out.sum() + truth.sum()))


def test_scores_of_regions_agree_with_the_rules_themselves():
    """Removed and filled voxels of the narrow region go to, and come from, the wide one."""
    rng = np.random.default_rng(5)
    shape = (22, 20)
    pred = rng.choice(3, shape, p=[0.3, 0.25, 0.45]).astype(np.int16)
    label = rng.choice(3, shape).astype(np.int16)
    grid = Grid.of(shape, np.diag([3.0, 3.0, 1.0]))
    scores = case_dice(pred, label, REGIONS, grid.voxel_volume_ml)
    for structure in REGIONS.structures:
        assert len(set(scores[structure.name])) > 2
        for (largest, volume, fill), found in zip(CANDIDATES, scores[structure.name], strict=True):
            rule = PostprocessRule(
                structure=structure.name,
                keep_largest=largest,
                min_volume_ml=volume,
                fill_holes=fill,
            )
            out = np.isin(apply_rules(pred, grid, REGIONS, [rule]), structure.indices)
            truth = np.isin(label, structure.indices)
            assert found == pytest.approx(2 * (out & truth).sum() / (out.sum() + truth.sum()))


def test_the_helpful_rule_is_chosen_and_its_gain_told():
    scores = [case_dice(*island_case(), SCHEME, voxel_ml=0.1)] * 3
    liver, tumour = choose_rules(scores, SCHEME)
    assert (liver.keep_largest, liver.min_volume_ml, liver.fill_holes) == (True, 0.0, False)
    assert (liver.dice_before, liver.dice_after) == (pytest.approx(0.8), 1)
    assert tumour == PostprocessRule(structure="tumour", dice_before=1, dice_after=1)


def scores_of(nothing, largest):
    """Cases whose Dice is given without and with the largest component kept."""
    return [
        {"liver": [with_ if c == LARGEST else without for c in range(len(CANDIDATES))]}
        for without, with_ in zip(nothing, largest, strict=True)
    ]


def test_gain_of_one_case_that_lowers_the_median_is_refused():
    (rule,) = choose_rules(scores_of([0.9, 0.9, 0.1], [0.88, 0.88, 0.9]), SCHEME)
    assert not rule.keep_largest
    assert rule.dice_before == rule.dice_after == pytest.approx(1.9 / 3)


def test_tiny_gain_is_refused():
    (rule,) = choose_rules(scores_of([0.9, 0.9], [0.90005, 0.90005]), SCHEME)
    assert not rule.keep_largest
    (rule,) = choose_rules(scores_of([0.9, 0.9], [0.9003, 0.9003]), SCHEME)
    assert rule.keep_largest


def test_no_cases_no_rules():
    assert choose_rules([], SCHEME) == ()
