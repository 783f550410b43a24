"""Post-process: clean each structure by rules that validation bore out; write what users get."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from medseg.artefacts import Dataset, IngestedCase, Plan, PredictedCase, Predictions
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule, Segmentations, SegmentedCase
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme
from medseg.registry import nearest
from medseg.stages.calibrate import expect_dice
from medseg.stages.context import Context
from medseg.stages.infer import Infer, bare_outputs
from medseg.stages.learn_rules import learn_rules
from medseg.stages.out_of_fold import out_of_fold, scoring_memory
from medseg.stages.resample import Resample
from medseg.trained import TrainedModel

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
        from medseg.model_folder import read_model_folder, write_model_folder
        from medseg.postprocess.rules import check_rules
        from medseg.reporting.quality import write_quality

        ingested = {one.case.id: one for one in dataset.cases}
        memory, scheme = scoring_memory(dataset.cases), bare_outputs(plan.scheme)
        rules = self._rules(ingested, scheme, predictions, context)
        check_rules(rules, plan.scheme)
        done = _finish(ingested, predictions, plan.scheme, rules, context)
        calibrations, expected = expect_dice(ingested, scheme, done, context, memory)
        files = _publish(done.values(), context.workdir)
        previous = self.resample.previous
        model_folder = write_model_folder(
            context.workdir / "model",
            plan=plan,
            model=model,
            rules=rules,
            inference=self.infer.inference,
            previous=read_model_folder(Path(previous)).folder if previous is not None else None,
        )
        _keep_background(model_folder, dataset, plan, done, context)
        write_quality(model_folder, calibrations)
        return Segmentations(
            cases=tuple(
                replace(one, file=files[name], expected=expected[name])
                for name, one in done.items()
            ),
            rules=rules,
            model=model_folder,
            calibrations=calibrations,
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


def _finish(
    ingested: Mapping[str, IngestedCase],
    predictions: Predictions,
    scheme: LabelScheme,
    rules: tuple[PostprocessRule, ...],
    context: Context,
) -> Mapping[str, SegmentedCase]:
    """Clean every prediction and write it on the grid of its input."""
    from medseg.postprocess.export import label_colours
    from medseg.postprocess.rules import acting_rules

    items = {
        pred.id: {
            "pred": pred,
            "grid": ingested[pred.id].grid,
            "orientation": ingested[pred.id].orientation,
            "scheme": bare_outputs(scheme),
            "rules": acting_rules(rules),
            "colours": label_colours(scheme, ingested[pred.id].grid.ndim),
        }
        for pred in predictions.cases
    }
    return context.map_cases(finish_case, items, memory=scoring_memory(ingested.values())).done


def _publish(done: Iterable[SegmentedCase], workdir: Path) -> dict[str, Path]:
    """Copy the predictions, and those in colour, to where users look for them."""
    folder, pictures = workdir / "predictions", workdir / "predictions_colour"
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for one in done:
        files[one.id] = Path(shutil.copyfile(one.file, folder / one.file.name))
        if one.colour is not None:
            pictures.mkdir(exist_ok=True)
            shutil.copyfile(one.colour, pictures / one.file.name)
    return files


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
    items = out_of_fold(ingested, done.values(), bare_outputs(plan.scheme))
    sizes = context.map_cases(case_sizes, items, memory=scoring_memory(dataset.cases)).done
    patients = {name: ingested[name].case.group or name for name in sizes}
    background = make_background(sizes, patients, scans_of_training(dataset, plan))
    write_background(folder, background)


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
