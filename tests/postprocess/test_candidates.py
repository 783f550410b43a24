from __future__ import annotations

import numpy as np
import pytest

from medseg.finished import ALL_FOREGROUND, PostprocessRule
from medseg.geometry.volume import Grid
from medseg.labels import IGNORE_INDEX, Label, LabelScheme, Region
from medseg.postprocess.candidates import CANDIDATES, case_dice, case_scores, rule_effects
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


def test_what_is_left_of_the_largest_piece_of_all_foreground():
    """Liver and tumour touch and are one piece; the island of the liver goes, and with it 0.2."""
    pred, label = island_case()
    pred[0, 1] = label[0, 1] = 2
    scores = case_scores(pred, label, SCHEME, voxel_ml=0.1)
    assert scores.plain["liver"][NOTHING] == pytest.approx(2 * 3 / (5 + 3))
    assert scores.after_foreground["liver"][NOTHING] == 1
    assert scores.after_foreground["tumour"] == scores.plain["tumour"]
    whole = case_scores(label, label, SCHEME, voxel_ml=0.1)
    assert whole.plain == whole.after_foreground


def test_effects_of_a_rule_on_what_stands_inside_another():
    """Of the two pieces of the wide region the small one goes, and with it half the tumour."""
    label = np.array([[1, 1, 2, 0, 2], [1, 1, 1, 0, 0]], dtype=np.int16)
    grid = Grid.of(label.shape, np.eye(3))
    rules = [PostprocessRule(structure="all", keep_largest=True)]
    effects = rule_effects(label, label, grid, REGIONS, rules)
    assert effects[""] == {"all": 1.0, "tumour": 1.0}
    assert effects["all"] == {"all": pytest.approx(2 * 6 / 13), "tumour": pytest.approx(2 / 3)}
    first = [PostprocessRule(structure=ALL_FOREGROUND, keep_largest=True), *rules]
    assert rule_effects(label, label, grid, REGIONS, first)[""] == effects["all"]
    assert set(rule_effects(label, label, grid, REGIONS, [], (2,))[""]) == {"tumour"}
