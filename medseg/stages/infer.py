"""Infer: sliding window over whole cases, back on each case's canonical grid."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medseg.artefacts import DataInfo, Plan, PredictedCase, Predictions, Resampled, ResampledCase
from medseg.errors import ConfigError, StageError
from medseg.labels import Label, LabelScheme, Region
from medseg.planning.wishes import parse_memory
from medseg.settings import Inference
from medseg.stages.context import Context
from medseg.trained import TrainedFold, TrainedModel

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Infer(Inference):
    """Predict validation, test and unlabelled cases."""

    writes: ClassVar[str] = "predictions"
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass."""
    memory: str = "auto"
    """Memory of the device that a prediction may use, such as ``4GB``; auto: a share of what is
    free. Smaller batches and half-precision sums keep it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory != "auto":
            parse_memory(self.memory, "infer.memory")
        if self.batch_size != "auto" and self.batch_size < 1:
            raise ConfigError(f"infer.batch_size is {self.batch_size}; it must be auto, 1 or more")

    @property
    def inference(self) -> Inference:
        """The settings that decide a prediction, without those of the machine."""
        return Inference(**{one.name: getattr(self, one.name) for one in fields(Inference)})

    def run(
        self, resampled: Resampled, plan: Plan, model: TrainedModel, context: Context
    ) -> Predictions:
        """Return one raw prediction per case, on its canonical grid."""
        bare = bare_plan(replace(plan, network=model.network))
        items: dict[str, dict[str, Any]] = {}
        for case in resampled.cases:
            weights = tuple(one.weights for one in judges_of(case, model))
            if weights:
                recipe = InferRecipe(weights=weights, plan=bare, inference=self.inference)
                items[case.id] = {"case": case, "recipe": recipe}
        results = context.map_cases(
            predict_case,
            # fold by fold, so that each network is loaded once
            {name: items[name] for name in sorted(items, key=lambda n: items[n]["recipe"].weights)},
            shared={"loader": PredictorLoader(self.batch_size, self.memory, context.device)},
            parallel=False,  # one network, which uses all cores or the accelerator by itself
        )
        return Predictions(
            cases=tuple(results.done[name] for name in items if name in results.done)
        )


def judges_of(case: ResampledCase, model: TrainedModel) -> tuple[TrainedFold, ...]:
    """Return the networks that predict a case: none that was trained on it.

    A training case is predicted out of fold, by the network that validated on it; where that fold
    was not trained, by none. Test and unlabelled cases are predicted by all together.

    Raises
    ------
    StageError
        If a network saw the case in training, which the split should have prevented.
    """
    chosen = model.folds
    if case.split == "train":
        chosen = tuple(one for one in model.folds if one.fold == case.fold)
    for one in chosen:
        if case.id in one.cases:
            raise StageError(
                f"infer: case {case.id} is a {case.split} case, and the network of fold {one.fold} "
                "was trained on it; run again from ingest (--force ingest)"
            )
    return chosen


@dataclass(frozen=True, kw_only=True)
class InferRecipe:
    """All that decides a prediction besides the image; where it is computed is no part of it."""

    weights: tuple[Path, ...]
    """Of the networks whose mean it is."""
    plan: Plan
    inference: Inference


class PredictorLoader:
    """Build the network when the first case needs it: with every case known, never."""

    def __init__(self, batch_size: int | Literal["auto"], memory: str, device: str) -> None:
        self.batch_size, self.device = batch_size, device
        self.memory = None if memory == "auto" else round(parse_memory(memory) * 1e9)
        self._loaded: tuple[InferRecipe, Predictor] | None = None

    def predictor(self, recipe: InferRecipe) -> Predictor:
        """Return the predictor for a recipe; the last one made is kept."""
        from medseg.inference.predictor import Predictor
        from medseg.inference.weights import load_network
        from medseg.inference.window import WindowSettings

        if self._loaded is None or self._loaded[0] != recipe:
            plan = recipe.plan
            settings = WindowSettings(
                **vars(recipe.inference), batch_size=self.batch_size, memory=self.memory
            )
            networks = [
                load_network(plan.network, weights, plan.slice_axis) for weights in recipe.weights
            ]
            self._loaded = recipe, Predictor(networks, plan, settings, self.device)
        return self._loaded[1]


def bare_plan(plan: Plan) -> Plan:
    """Keep of a plan what decides a prediction: where data and numbers came from does not."""
    info = DataInfo(
        name="", title="", modality="", channels=plan.info.channels, origin=plan.info.origin,
        licence="", citation="", digest="",
    )  # fmt: skip
    scheme = bare_outputs(plan.scheme)
    return replace(plan, batch_size=1, budget="", scheme=scheme, info=info, decisions=())


def bare_outputs(scheme: LabelScheme) -> LabelScheme:
    """Keep of a label table what decides a prediction: colours and tolerances do not."""
    return LabelScheme(
        labels=tuple(Label(value=row.value, name=row.name) for row in scheme.labels),
        regions=tuple(Region(name=row.name, labels=row.labels) for row in scheme.regions),
        ignore_value=scheme.ignore_value,
        label_map=scheme.label_map,
    )


def predict_case(
    *, out: Path, case: ResampledCase, recipe: InferRecipe, loader: PredictorLoader
) -> PredictedCase:
    """Predict one case and store its class indices on the canonical grid."""
    from medseg.inference.clues import ClueCounter
    from medseg.io.store import open_array, write_array

    predictor = loader.predictor(recipe)
    clues = ClueCounter(recipe.plan.scheme)
    started = time.monotonic()
    pred = predictor.indices(
        open_array(case.image).read_all(),
        case=case.id,
        crop_start=case.crop_start,
        crop_stop=case.crop_stop,
        source=case.source,
        clues=clues,
    )
    path = write_array(out / "pred.b2nd", pred)
    seconds = time.monotonic() - started
    logger.info("case %s: predicted %s voxels in %.1f s", case.id, pred.shape, seconds)
    return PredictedCase(
        id=case.id,
        split=case.split,
        fold=case.fold,
        pred=path,
        seconds=seconds,
        clues=clues.found(),
    )
