"""Decide on out-of-fold predictions which rules, if any, make the structures better."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.finished import ALL_FOREGROUND, PostprocessRule, RuleScores
from medseg.labels import LabelScheme
from medseg.metrics.paired import SMALLEST_N
from medseg.postprocess.candidates import CANDIDATES, LARGEST_FOREGROUND
from medseg.postprocess.chance import best_of_many_p
from medseg.postprocess.rules import acts

LEAST_GAIN = 1e-4
"""A rule must raise the mean Dice by more than this."""

LEVEL = 0.05
"""Chance that any rule at all is adopted where none does any good."""

ROUNDING = 1e-12

Table = NDArray[np.float64]


def choose_rules(
    scores: Sequence[RuleScores], scheme: LabelScheme, patients: Sequence[str] | None = None
) -> tuple[PostprocessRule, ...]:
    """Adopt the rules whose gain is more than chance.

    First all foreground together: its largest piece alone is kept where that raises the mean Dice
    and lowers that of no structure. Then each structure for itself, on what is left: of the rules
    that pass, the one with the best mean Dice; of equally good ones that which does least.

    A rule passes where it raises the mean Dice over the patients by more than `LEAST_GAIN`, does
    not lower the median, changes at least `SMALLEST_N` of them, and a sign-flip test that knows how
    many rules were tried (`medseg.postprocess.chance`) supports it: half of `LEVEL` goes to the
    first step, half to the structures of the second together (each an equal part of it).

    Parameters
    ----------
    scores : sequence of RuleScores
        One per case with a reference.
    scheme : LabelScheme
    patients : sequence of str, optional
        Whose scan each case is; scans of one patient are averaged.

    Returns
    -------
    tuple of PostprocessRule
        One for all foreground (where there are several structures), then one per structure that
        some case scores, in table order. ``reason`` says why it was adopted, or why not.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021, supplement (post-processing): the order
       of the two steps.
    """
    who = list(patients) if patients is not None else [str(i) for i in range(len(scores))]
    names = [s.name for s in scheme.structures if any(s.name in one.plain for one in scores)]
    plain = {name: _table([one.plain for one in scores], name, who) for name in names}
    if len(scheme.structures) == 1 or not names:
        return _choose_each(plain, LEVEL)
    after = {name: _table([one.after_foreground for one in scores], name, who) for name in names}
    first = _choose_foreground(scores, plain, after, who)
    return (first, *_choose_each(after if acts(first) else plain, LEVEL / 2))


def without_harm(
    rules: Sequence[PostprocessRule], effects: Sequence[Mapping[str, Mapping[str, float]]]
) -> tuple[PostprocessRule, ...]:
    """Take back the rules that lower the mean Dice of another structure.

    Where regions overlap, what is removed from one may be missing in another.

    Parameters
    ----------
    rules : sequence of PostprocessRule
    effects : sequence of mapping
        What `medseg.postprocess.candidates.rule_effects` returned, one per case.
    """
    found = [(rule, _lowered(rule, effects)) for rule in rules]
    return tuple(rule if low is None else _refused(rule, *low) for rule, low in found)


def describe(rule: PostprocessRule) -> str:
    """Say in words what a rule does."""
    steps = [
        *(["largest component"] if rule.keep_largest else []),
        *([f"at least {rule.min_volume_ml:g} mL"] if rule.min_volume_ml else []),
        *(["holes filled"] if rule.fill_holes else []),
    ]
    return ", ".join(steps) or "nothing is done"


def _table(
    scores: Sequence[Mapping[str, Sequence[float]]], structure: str, patients: Sequence[str]
) -> Table:
    """Return a structure's Dice, (patients, candidates); scans of a patient are averaged."""
    rows: dict[str, list[Sequence[float]]] = {}
    for case, patient in zip(scores, patients, strict=True):
        if structure in case:
            rows.setdefault(patient, []).append(case[structure])
    return np.array([np.mean(np.array(found), axis=0) for found in rows.values()])


def _choose_foreground(
    scores: Sequence[RuleScores],
    plain: Mapping[str, Table],
    after: Mapping[str, Table],
    patients: Sequence[str],
) -> PostprocessRule:
    """Decide whether the largest piece of all foreground alone is kept."""
    means = [
        {"": tuple(statistics.fmean(row[0] for row in one.values()) for one in (before, now))}
        if before
        else {}
        for before, now in ((case.plain, case.after_foreground) for case in scores)
    ]
    rule = _choose(_table(means, "", patients), [LARGEST_FOREGROUND], LEVEL / 2)
    if acts(rule):
        for name in plain:
            before, now = plain[name][:, 0].mean(), after[name][:, 0].mean()
            if now < before - ROUNDING:
                return _refused(rule, name, before, now)
    return rule


def _choose_each(tables: Mapping[str, Table], level: float) -> tuple[PostprocessRule, ...]:
    """Choose for each structure among `CANDIDATES`."""
    testable = [name for name, table in tables.items() if (_changed(table) >= SMALLEST_N).any()]
    share = level / max(1, len(testable))
    return tuple(
        _choose(
            table,
            [
                PostprocessRule(structure=name, keep_largest=a, min_volume_ml=b, fill_holes=c)
                for a, b, c in CANDIDATES[1:]
            ],
            share,
        )
        for name, table in tables.items()
    )


def _choose(table: Table, rules: Sequence[PostprocessRule], level: float) -> PostprocessRule:
    """Choose one of several rules, or none.

    Parameters
    ----------
    table : float64 ndarray of shape (patients, 1 + rules)
        Dice without a rule, then with each of them; the one that does least comes first.
    rules : sequence of PostprocessRule
    level : float
        Chance that one is chosen where none does any good.
    """
    gains, changed = _gains(table), _changed(table)
    n, gain = len(table), gains.mean(axis=0)
    before = float(table[:, 0].mean())
    nothing = PostprocessRule(structure=rules[0].structure, dice_before=before, dice_after=before)
    if not changed.any():
        return replace(nothing, reason=f"no rule changes any of {n} cases")
    able = changed >= SMALLEST_N
    if not able.any():
        why = (
            f"rules change at most {changed.max()} of {n} cases; {SMALLEST_N} are needed to tell a "
            "gain from chance"
        )
        return replace(nothing, reason=why)
    medians = np.median(table, axis=0)
    helps = able & (gain > LEAST_GAIN + ROUNDING) & (medians[1:] >= medians[0] - ROUNDING)
    if not helps.any():
        return replace(nothing, reason=f"no rule raises mean and median over {n} cases")
    p = np.ones(len(rules))
    p[able] = best_of_many_p(gains[:, able])
    passed = helps & (p <= level)
    among = passed if passed.any() else helps
    best = int(np.argmax(np.where(among, np.round(gain, 12), -np.inf)))
    found = f"Dice {gain[best]:+.4f}, {changed[best]} of {n} cases change, p {p[best]:.2g}"
    if not passed.any():
        why = f"{describe(rules[best])}: {found}: may be chance ({level:.2g} is needed)"
        return replace(nothing, reason=why)
    after = float(table[:, 1 + best].mean())
    return replace(rules[best], dice_before=before, dice_after=after, reason=found)


def _gains(table: Table) -> Table:
    """Return what each rule adds to each patient's Dice, (patients, rules)."""
    gains: Table = table[:, 1:] - table[:, :1]
    return np.where(np.abs(gains) > ROUNDING, gains, 0.0)


def _changed(table: Table) -> NDArray[np.int64]:
    """Count the patients that each rule changes."""
    return np.asarray(np.count_nonzero(_gains(table), axis=0))


def _lowered(
    rule: PostprocessRule, effects: Sequence[Mapping[str, Mapping[str, float]]]
) -> tuple[str, float, float] | None:
    """Return a structure that a rule of another lowers, and its mean Dice before and after."""
    if rule.structure == ALL_FOREGROUND or not acts(rule):
        return None
    for name in dict.fromkeys(name for case in effects for name in case[""]):
        pairs = [
            (case[""][name], case[rule.structure][name]) for case in effects if name in case[""]
        ]
        before, now = (statistics.fmean(column) for column in zip(*pairs, strict=True))
        if name != rule.structure and now < before - ROUNDING:
            return name, before, now
    return None


def _refused(rule: PostprocessRule, name: str, before: float, now: float) -> PostprocessRule:
    """Return the rule that does nothing, because this one would lower another structure."""
    return PostprocessRule(
        structure=rule.structure,
        dice_before=rule.dice_before,
        dice_after=rule.dice_before,
        reason=f"{describe(rule)} would lower {name} from {before:.4f} to {now:.4f}",
    )
