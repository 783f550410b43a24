"""Which rules of post-processing raise the Dice of the validation cases; see *postprocess*."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.artefacts import IngestedCase, Predictions
from medseg.case import Case
from medseg.finished import ALL_FOREGROUND, PostprocessRule, RuleScores
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme
from medseg.stages.context import Context
from medseg.stages.out_of_fold import out_of_fold, scoring_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


def learn_rules(
    ingested: Mapping[str, IngestedCase],
    scheme: LabelScheme,
    predictions: Predictions,
    context: Context,
) -> tuple[PostprocessRule, ...]:
    """Decide on the out-of-fold predictions that have a reference."""
    from medseg.postprocess.learn import choose_rules, describe, without_harm
    from medseg.postprocess.rules import acting_rules

    items = out_of_fold(ingested, predictions.cases, scheme)
    if not items:
        logger.info("no validation case has an annotation: nothing is post-processed")
        return ()
    memory = scoring_memory(ingested.values())
    scored = context.map_cases(score_rules, items, memory=memory)
    patients = [ingested[name].case.group or name for name in scored.done]
    rules = choose_rules(list(scored.done.values()), scheme, patients)
    acting = acting_rules(rules)
    if scheme.regions and acting:  # of labels, which do not overlap, none can harm another
        tried = {name: {**item, "rules": acting} for name, item in items.items()}
        effects = context.map_cases(score_effects, tried, memory=memory)
        rules = without_harm(rules, list(effects.done.values()))
    for rule in rules:
        logger.info("%s: %s (%s)", _where(rule), describe(rule), rule.reason)
    return rules


def score_rules(
    *,
    out: Path,  # noqa: ARG001 - nothing is written but the result
    pred: Path,
    case: Case,
    digest: str,  # noqa: ARG001 - names the content of the files, so it is part of the key
    scheme: LabelScheme,
) -> RuleScores:
    """Score every candidate rule on one out-of-fold prediction."""
    from medseg.io.store import open_array
    from medseg.postprocess.candidates import case_scores

    label, grid, covered = _reference(case, scheme)
    return case_scores(open_array(pred).read_all(), label, scheme, grid.voxel_volume_ml, covered)


def score_effects(
    *,
    out: Path,  # noqa: ARG001 - nothing is written but the result
    pred: Path,
    case: Case,
    digest: str,  # noqa: ARG001 - names the content of the files, so it is part of the key
    scheme: LabelScheme,
    rules: tuple[PostprocessRule, ...],
) -> dict[str, dict[str, float]]:
    """Score on one out-of-fold prediction what each rule does to every structure."""
    from medseg.io.store import open_array
    from medseg.postprocess.candidates import rule_effects

    label, grid, covered = _reference(case, scheme)
    return rule_effects(open_array(pred).read_all(), label, grid, scheme, rules, covered)


def _reference(
    case: Case, scheme: LabelScheme
) -> tuple[NDArray[np.int16], Grid, tuple[int, ...] | None]:
    """Read a case's class indices, its grid, and the classes that the annotation covers."""
    from medseg.io.load import load_image, load_label

    covered = None
    if case.annotated is not None:
        covered = tuple(scheme.index_of(name) for name in case.annotated)
    image = load_image(case)
    return load_label(case, scheme, image), image.volume.grid, covered


def _where(rule: PostprocessRule) -> str:
    """Name what a rule is for."""
    return "all foreground" if rule.structure == ALL_FOREGROUND else rule.structure
