"""Post-process: clean each structure by rules that validation bore out; write what users get."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from medseg.artefacts import (
    Dataset,
    IngestedCase,
    Plan,
    PostprocessRule,
    PredictedCase,
    Predictions,
    Segmentations,
    SegmentedCase,
    TrainedModel,
)
from medseg.case import Case
from medseg.errors import ConfigError
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme
from medseg.registry import nearest
from medseg.stages.context import Context
from medseg.stages.infer import Infer, bare_outputs
from medseg.stages.ingest import bare_case

logger = logging.getLogger(__name__)

BYTES_PER_VOXEL = 40
"""Peak memory of one case: prediction, components, masks, and the image while it is read."""

SETTABLE = ("keep_largest", "min_volume_ml", "fill_holes")


@dataclass(frozen=True, kw_only=True)
class Postprocess:
    """Largest component, minimum volume and hole filling per structure, then the original grid.

    ``infer`` is another section of the config; the model folder repeats it, so that
    `medseg predict` does what this run did.
    """

    writes: ClassVar[str] = "segmentations"
    publishes: ClassVar[tuple[str, ...]] = ("predictions", "model")
    rules: dict[str, dict[str, Any]] | Literal["auto", "off"] = "auto"
    """auto: what raises the validation Dice; or per structure name the fields of a rule."""
    infer: Infer = field(default_factory=Infer)

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
        from medseg.model_folder import Inference, write_model_folder
        from medseg.postprocess.rules import check_rules

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
                    "rules": rules,
                }
                for pred in predictions.cases
            },
            memory=_memory(dataset.cases),
        )
        folder = context.workdir / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        cases = tuple(
            replace(done, file=Path(shutil.copyfile(done.file, folder / done.file.name)))
            for done in results.done.values()
        )
        model_folder = write_model_folder(
            context.workdir / "model",
            plan=plan,
            model=model,
            rules=rules,
            inference=Inference(
                overlap=self.infer.overlap,
                mirror=self.infer.mirror,
                precision=self.infer.precision,
            ),
        )
        return Segmentations(cases=cases, rules=rules, model=model_folder)

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
        from medseg.postprocess.learn import choose_rules

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
        scored = context.map_cases(score_rules, items, memory=_memory(ingested.values()))
        rules = choose_rules(list(scored.done.values()), scheme)
        for rule in rules:
            logger.info(
                "%s: %s, Dice on %d validation cases %.4f -> %.4f",
                rule.structure, _describe(rule), len(items), rule.dice_before, rule.dice_after,
            )  # fmt: skip
        return rules


def score_rules(
    *,
    out: Path,  # noqa: ARG001 - nothing is written but the result
    pred: Path,
    case: Case,
    digest: str,  # noqa: ARG001 - names the content of the files, so it is part of the key
    scheme: LabelScheme,
) -> dict[str, tuple[float, ...]]:
    """Score every candidate rule on one validation case."""
    from medseg.io.load import load_image, load_label
    from medseg.io.store import open_array
    from medseg.postprocess.learn import case_dice

    covered = None
    if case.annotated is not None:
        covered = tuple(scheme.index_of(name) for name in case.annotated)
    image = load_image(case)
    label = load_label(case, scheme, image)
    voxel_ml = image.volume.grid.voxel_volume_ml
    return case_dice(open_array(pred).read_all(), label, scheme, voxel_ml, covered)


def finish_case(
    *,
    out: Path,
    pred: PredictedCase,
    grid: Grid,
    orientation: str,
    scheme: LabelScheme,
    rules: tuple[PostprocessRule, ...],
) -> SegmentedCase:
    """Clean one prediction and write it on the grid of its input."""
    from medseg.io.store import open_array, write_array
    from medseg.postprocess.export import prediction_name, stored_grid, write_prediction
    from medseg.postprocess.rules import apply_rules

    indices = apply_rules(open_array(pred.pred).read_all(), grid, scheme, rules)
    file = out / prediction_name(pred.id, grid.ndim)
    write_prediction(file, indices, grid, stored_grid(grid, orientation), scheme)
    store = write_array(out / "pred.b2nd", indices)
    return SegmentedCase(id=pred.id, split=pred.split, fold=pred.fold, file=file, pred=store)


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


def _describe(rule: PostprocessRule) -> str:
    """Say in words what a rule does."""
    steps = [
        *(["largest component"] if rule.keep_largest else []),
        *([f"at least {rule.min_volume_ml:g} mL"] if rule.min_volume_ml else []),
        *(["holes filled"] if rule.fill_holes else []),
    ]
    return ", ".join(steps) or "nothing helps"
