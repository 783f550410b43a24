"""Post-process: clean each structure by rules that validation bore out; write what users get."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medseg.artefacts import Dataset, IngestedCase, Plan, PredictedCase, Predictions, TrainedModel
from medseg.case import Case
from medseg.errors import ConfigError
from medseg.finished import (
    ALL_FOREGROUND,
    PostprocessRule,
    RuleScores,
    Segmentations,
    SegmentedCase,
)
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme
from medseg.registry import nearest
from medseg.stages.calibrate import expect_dice
from medseg.stages.context import Context
from medseg.stages.infer import Infer, bare_outputs
from medseg.stages.ingest import bare_case
from medseg.stages.resample import Resample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

BYTES_PER_VOXEL = 40
"""Peak memory of one case: prediction, components, masks, and the image while it is read."""

SETTABLE = ("keep_largest", "min_volume_ml", "fill_holes")


@dataclass(frozen=True, kw_only=True)
class Postprocess:
    """Largest component, minimum volume and hole filling per structure, then the original grid.

    ``infer`` and ``resample`` are other sections of the config; the model folder repeats the one
    and takes in the earlier model of the other, so that `medseg predict` does what this run did.
    """

    writes: ClassVar[str] = "segmentations"
    publishes: ClassVar[tuple[str, ...]] = ("predictions", "predictions_colour", "model")
    rules: dict[str, dict[str, Any]] | Literal["auto", "off"] = "auto"
    """auto: what raises the Dice of out-of-fold predictions beyond chance; or per structure name
    (``"*"``: all foreground together, first) the fields of a rule."""
    infer: Infer = field(default_factory=Infer)
    resample: Resample = field(default_factory=Resample)

    def __post_init__(self) -> None:
        if isinstance(self.rules, Mapping):
            for structure, settings in self.rules.items():
                _check_settings(structure, settings)

    def run(
        self,
        dataset: Dataset,
        plan: Plan,
        predictions: Predictions,
        model: TrainedModel,
        context: Context,
    ) -> Segmentations:
        """Return the finished predictions and the model folder."""
        from medseg.model_document import Inference
        from medseg.model_folder import read_model_folder, write_model_folder
        from medseg.postprocess.export import label_colours
        from medseg.postprocess.rules import acting_rules, check_rules
        from medseg.reporting.quality import write_quality

        ingested = {one.case.id: one for one in dataset.cases}
        scheme = bare_outputs(plan.scheme)
        rules = self._rules(ingested, scheme, predictions, context)
        check_rules(rules, plan.scheme)
        results = context.map_cases(
            finish_case,
            {
                pred.id: {
                    "pred": pred,
                    "grid": ingested[pred.id].grid,
                    "orientation": ingested[pred.id].orientation,
                    "scheme": scheme,
                    "rules": acting_rules(rules),
                    "colours": label_colours(plan.scheme, ingested[pred.id].grid.ndim),
                }
                for pred in predictions.cases
            },
            memory=_memory(dataset.cases),
        )
        folder = context.workdir / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        calibrations, expected = expect_dice(
            ingested, scheme, results.done, context, _memory(dataset.cases)
        )
        cases = tuple(
            replace(
                done,
                file=Path(shutil.copyfile(done.file, folder / done.file.name)),
                expected=expected[done.id],
            )
            for done in results.done.values()
        )
        coloured = [done for done in results.done.values() if done.colour is not None]
        for done in coloured:
            pictures = context.workdir / "predictions_colour"
            pictures.mkdir(exist_ok=True)
            shutil.copyfile(str(done.colour), pictures / done.file.name)
        previous = self.resample.previous
        model_folder = write_model_folder(
            context.workdir / "model",
            plan=plan,
            model=model,
            rules=rules,
            inference=Inference(**{f.name: getattr(self.infer, f.name) for f in fields(Inference)}),
            previous=read_model_folder(Path(previous)).folder if previous is not None else None,
        )
        _keep_background(model_folder, dataset, plan, results.done, context)
        write_quality(model_folder, calibrations)
        return Segmentations(
            cases=cases, rules=rules, model=model_folder, calibrations=calibrations
        )

    def _rules(
        self,
        ingested: Mapping[str, IngestedCase],
        scheme: LabelScheme,
        predictions: Predictions,
        context: Context,
    ) -> tuple[PostprocessRule, ...]:
        """Take the rules of the config, or decide on the validation cases."""
        if self.rules == "off":
            return ()
        if isinstance(self.rules, Mapping):
            return tuple(PostprocessRule(structure=name, **s) for name, s in self.rules.items())
        return learn_rules(ingested, scheme, predictions, context)


def _keep_background(
    folder: Path,
    dataset: Dataset,
    plan: Plan,
    done: Mapping[str, SegmentedCase],
    context: Context,
) -> None:
    """Write into the model folder what pages of new cases compare them with."""
    from medseg.reporting.background import (
        case_sizes,
        make_background,
        scans_of_training,
        write_background,
    )

    ingested = {one.case.id: one for one in dataset.cases}
    items = {
        name: {
            "pred": one.pred,
            "case": bare_case(ingested[name].case),
            "digest": ingested[name].digest,
            "scheme": bare_outputs(plan.scheme),
        }
        for name, one in done.items()
        if one.split == "train" and ingested[name].case.label
    }
    sizes = context.map_cases(case_sizes, items, memory=_memory(dataset.cases)).done
    patients = {name: ingested[name].case.group or name for name in sizes}
    background = make_background(sizes, patients, scans_of_training(dataset, plan))
    write_background(folder, background)


def learn_rules(
    ingested: Mapping[str, IngestedCase],
    scheme: LabelScheme,
    predictions: Predictions,
    context: Context,
) -> tuple[PostprocessRule, ...]:
    """Decide on the out-of-fold predictions that have a reference."""
    from medseg.postprocess.learn import choose_rules, describe, without_harm
    from medseg.postprocess.rules import acting_rules

    items = {
        pred.id: {
            "pred": pred.pred,
            "case": bare_case(ingested[pred.id].case),
            "digest": ingested[pred.id].digest,
            "scheme": scheme,
        }
        for pred in predictions.cases
        if pred.split == "train" and ingested[pred.id].case.label
    }
    if not items:
        logger.info("no validation case has an annotation: nothing is post-processed")
        return ()
    memory = _memory(ingested.values())
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


def finish_case(
    *,
    out: Path,
    pred: PredictedCase,
    grid: Grid,
    orientation: str,
    scheme: LabelScheme,
    rules: tuple[PostprocessRule, ...],
    colours: tuple[str, ...] = (),
) -> SegmentedCase:
    """Clean one prediction and write it on the grid of its input; a photograph's in colour too."""
    from medseg.io.store import open_array, write_array
    from medseg.metrics.expected_dice import clues_left
    from medseg.postprocess.export import (
        prediction_name,
        stored_grid,
        write_coloured,
        write_prediction,
    )
    from medseg.postprocess.rules import apply_rules

    indices = apply_rules(open_array(pred.pred).read_all(), grid, scheme, rules)
    file = out / prediction_name(pred.id, grid.ndim)
    write_prediction(file, indices, grid, stored_grid(grid, orientation), scheme)
    store = write_array(out / "pred.b2nd", indices)
    values = [label.value for label in scheme.labels]
    colour = write_coloured(out / "colour.png", indices, colours, values) if colours else None
    return SegmentedCase(
        id=pred.id,
        split=pred.split,
        fold=pred.fold,
        file=file,
        pred=store,
        colour=colour,
        clues=clues_left(pred.clues, indices, scheme),
    )


def _check_settings(structure: str, settings: Mapping[str, Any]) -> None:
    """Refuse a rule with unknown or wrongly typed fields."""
    known = {f.name: f.default for f in fields(PostprocessRule) if f.name in SETTABLE}
    for key, value in settings.items():
        where = f"postprocess.rules.{structure}.{key}"
        if key not in known:
            raise ConfigError(f"{where}: no such key; {nearest(key, known)}")
        if isinstance(known[key], bool):
            if not isinstance(value, bool):
                raise ConfigError(f"{where} is {value!r}; it must be true or false")
        elif isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ConfigError(f"{where} is {value!r}; it must be a volume in mL, 0 or more")


def _memory(cases: Iterable[IngestedCase]) -> int:
    """Estimate the memory that the largest case needs, in bytes."""
    return BYTES_PER_VOXEL * max(math.prod(one.grid.shape) for one in cases)


def _where(rule: PostprocessRule) -> str:
    """Name what a rule is for."""
    return "all foreground" if rule.structure == ALL_FOREGROUND else rule.structure
