from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.finished import ALL_FOREGROUND, PostprocessRule, RuleScores
from medseg.labels import Label, LabelScheme
from medseg.postprocess.candidates import CANDIDATES, case_scores
from medseg.postprocess.learn import choose_rules, without_harm
from medseg.postprocess.rules import acting_rules
from tests.postprocess.test_candidates import LARGEST, REGIONS, SCHEME, island_case

LIVER = LabelScheme(labels=(Label(value=1, name="liver"),))


def scores_of(nothing, largest, scheme=LIVER):
    """Cases whose Dice is given without and with the largest component kept."""
    name = scheme.structures[0].name
    tables = [
        {name: tuple(with_ if c == LARGEST else without for c in range(len(CANDIDATES)))}
        for without, with_ in zip(nothing, largest, strict=True)
    ]
    return [RuleScores(plain=table, after_foreground=table) for table in tables]


def test_the_helpful_rule_is_chosen_and_its_gain_told():
    scores = [case_scores(*island_case(), SCHEME, voxel_ml=0.1)] * 9
    whole, liver, tumour = choose_rules(scores, SCHEME)
    assert whole.structure == ALL_FOREGROUND
    assert whole.keep_largest  # and so there is nothing left to do for the liver
    assert (whole.dice_before, whole.dice_after) == (pytest.approx(0.9), 1)
    assert whole.reason == "Dice +0.1000, 9 of 9 cases change, p 0.002"
    assert acting_rules((liver, tumour)) == ()
    assert (liver.dice_before, liver.dice_after) == (1, 1)
    assert tumour.reason == "no rule changes any of 9 cases"


def test_of_one_structure_the_gentlest_helpful_rule_is_chosen():
    scores = [case_scores(*island_case(), LIVER, voxel_ml=0.1)] * 9
    (liver,) = choose_rules(scores, LIVER)
    assert (liver.keep_largest, liver.min_volume_ml, liver.fill_holes) == (True, 0.0, False)
    assert (liver.dice_before, liver.dice_after) == (pytest.approx(0.8), 1)


def test_with_few_cases_nothing_is_done_and_it_is_said_why():
    (rule,) = choose_rules(scores_of([0.5] * 20, [0.9] * 5 + [0.5] * 15), LIVER)
    assert acting_rules((rule,)) == ()
    assert rule.dice_before == rule.dice_after == pytest.approx(0.5)
    assert rule.reason == (
        "rules change at most 5 of 20 cases; 6 are needed to tell a gain from chance"
    )
    (rule,) = choose_rules(scores_of([0.5] * 20, [0.9] * 6 + [0.5] * 14), LIVER)
    assert rule.keep_largest


def test_scans_of_one_patient_are_one_case():
    (rule,) = choose_rules(scores_of([0.5] * 9, [0.9] * 9), LIVER, list("aaabbbccc"))
    assert rule.reason.startswith("rules change at most 3 of 3 cases")


def test_gain_of_one_case_that_lowers_the_median_is_refused():
    (rule,) = choose_rules(scores_of([0.9] * 6 + [0.1], [0.88] * 6 + [0.9]), LIVER)
    assert not rule.keep_largest
    assert rule.dice_before == rule.dice_after == pytest.approx(5.5 / 7)
    assert rule.reason == "no rule raises mean and median over 7 cases"


def test_tiny_gain_is_refused():
    (rule,) = choose_rules(scores_of([0.9] * 8, [0.90005] * 8), LIVER)
    assert not rule.keep_largest
    (rule,) = choose_rules(scores_of([0.9] * 8, [0.9003] * 8), LIVER)
    assert rule.keep_largest


def test_a_gain_that_may_be_chance_is_refused_with_its_p():
    gains = np.array([0.3, -0.1, 0.2, -0.1, 0.2, -0.1, 0.1, 0.1])
    (rule,) = choose_rules(scores_of([0.5] * 8, 0.5 + gains), LIVER)
    assert not rule.keep_largest
    assert "largest component: Dice +0.0750, 8 of 8 cases change" in rule.reason
    assert "may be chance (0.05 is needed)" in rule.reason


def test_all_foreground_is_left_where_a_structure_would_suffer():
    """The liver gains 0.2 in each case, the tumour loses 0.05: the mean rises, but not for all."""
    whole = {"liver": (0.7,) * len(CANDIDATES), "tumour": (0.8,) * len(CANDIDATES)}
    largest = {"liver": (0.9,) * len(CANDIDATES), "tumour": (0.75,) * len(CANDIDATES)}
    scores = [RuleScores(plain=whole, after_foreground=largest)] * 10
    rule, *_ = choose_rules(scores, SCHEME)
    assert not rule.keep_largest
    assert rule.reason == "largest component would lower tumour from 0.8000 to 0.7500"


def test_a_rule_that_harms_another_structure_is_taken_back():
    rules = (
        PostprocessRule(structure="all", keep_largest=True, dice_before=0.8, dice_after=0.9),
        PostprocessRule(structure="tumour", fill_holes=True, dice_before=0.7, dice_after=0.8),
    )
    effects = {
        "": {"all": 0.8, "tumour": 0.7},
        "all": {"all": 0.9, "tumour": 0.6},
        "tumour": {"all": 0.8, "tumour": 0.8},
    }
    only_all = {key: {"all": 0.5} for key in effects}  # a case without annotated tumour
    wide, narrow = without_harm(rules, [effects, only_all])
    assert wide == PostprocessRule(
        structure="all", dice_before=0.8, dice_after=0.8,
        reason="largest component would lower tumour from 0.7000 to 0.6000",
    )  # fmt: skip
    assert narrow == rules[1]


def random_scores(rng, cases, candidates, effect=0.0):
    """Dice under rules that do good or harm at random, in some cases; the first helps on average.

    Gains of a case hang together, as those of nested volumes do, and some rules are wild.
    """
    base = rng.uniform(0.6, 0.9, cases)
    scale = rng.choice([0.001, 0.01, 0.1], candidates - 1)
    noise = rng.normal(size=(cases, 1)) + rng.normal(size=(cases, candidates - 1))
    gains = scale * noise * (rng.random((cases, candidates - 1)) < 0.7)
    gains[:, 0] += effect
    dice = np.clip(np.column_stack([base, base[:, None] + gains]), 0, 1)
    return [
        RuleScores(plain={"liver": tuple(row)}, after_foreground={"liver": tuple(row)})
        for row in dice
    ]


@pytest.mark.parametrize("cases", [10, 40])
def test_rules_of_chance_are_adopted_at_no_more_than_the_nominal_rate(cases):
    """28 candidates that do nothing but chance: at most 1 of 20 data sets gets a rule."""
    rng = np.random.default_rng(cases)
    trials = 150
    found = [choose_rules(random_scores(rng, cases, len(CANDIDATES)), LIVER) for _ in range(trials)]
    adopted = sum(bool(acting_rules(rules)) for rules in found)
    assert adopted <= stats.binom.ppf(0.999, trials, 0.05)


def test_a_true_gain_is_found_among_them():
    rng = np.random.default_rng(7)
    trials = 40
    found = [
        choose_rules(random_scores(rng, 40, len(CANDIDATES), effect=0.08), LIVER)
        for _ in range(trials)
    ]
    assert sum(bool(acting_rules(rules)) for rules in found) >= 0.9 * trials


def test_no_cases_no_rules():
    assert choose_rules([], SCHEME) == ()
    assert choose_rules([], REGIONS) == ()
