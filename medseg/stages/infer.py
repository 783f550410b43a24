"""Infer: sliding window over whole cases, back on each case's canonical grid."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.artefacts import (
    DataInfo,
    Plan,
    PredictedCase,
    Predictions,
    Resampled,
    ResampledCase,
    TrainedModel,
)
from medseg.errors import ConfigError
from medseg.labels import Label, LabelScheme, Region
from medseg.stages.context import Context

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Predict validation, test and unlabelled cases."""

    writes: ClassVar[str] = "predictions"
    overlap: float = 0.5
    """Share of a tile that the next one covers again."""
    mirror: bool = False
    """Average over flips of the planned axes; costs 2^axes the time."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(
                f"infer.overlap is {self.overlap}; it must be at least 0 and below 1, such as 0.5"
            )
        if self.batch_size != "auto" and self.batch_size < 1:
            raise ConfigError(f"infer.batch_size is {self.batch_size}; it must be auto, 1 or more")

    def run(
        self, resampled: Resampled, plan: Plan, model: TrainedModel, context: Context
    ) -> Predictions:
        """Return one raw prediction per case, on its canonical grid."""
        recipe = InferRecipe(
            weights=model.weights,
            plan=bare_plan(replace(plan, network=model.network)),
            overlap=self.overlap,
            mirror=self.mirror,
            precision=self.precision,
        )
        cases = [c for c in resampled.cases if c.split != "train" or c.fold == model.fold]
        results = context.map_cases(
            predict_case,
            {case.id: {"case": case, "recipe": recipe} for case in cases},
            shared={"loader": PredictorLoader(self.batch_size, context.device)},
            parallel=False,  # one network, which uses all cores or the accelerator by itself
        )
        return Predictions(cases=tuple(results.done.values()))


@dataclass(frozen=True, kw_only=True)
class InferRecipe:
    """All that decides a prediction besides the image; where it is computed is no part of it."""

    weights: Path
    plan: Plan
    overlap: float
    mirror: bool
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


class PredictorLoader:
    """Build the network when the first case needs it: with every case known, never."""

    def __init__(self, batch_size: int | Literal["auto"], device: str) -> None:
        self.batch_size, self.device = batch_size, device
        self._loaded: tuple[InferRecipe, Predictor] | None = None

    def predictor(self, recipe: InferRecipe) -> Predictor:
        """Return the predictor for a recipe; the last one made is kept."""
        from medseg.inference.predictor import Predictor, WindowSettings
        from medseg.inference.weights import load_network

        if self._loaded is None or self._loaded[0] != recipe:
            plan = recipe.plan
            settings = WindowSettings(
                overlap=recipe.overlap,
                mirror=recipe.mirror,
                batch_size=self.batch_size,
                precision=recipe.precision,
            )
            network = load_network(plan.network, recipe.weights, plan.slice_axis)
            self._loaded = recipe, Predictor(network, plan, settings, self.device)
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
    )


def predict_case(
    *, out: Path, case: ResampledCase, recipe: InferRecipe, loader: PredictorLoader
) -> PredictedCase:
    """Predict one case and store its class indices on the canonical grid."""
    from medseg.io.store import open_array, write_array

    predictor = loader.predictor(recipe)
    started = time.monotonic()
    pred = predictor.indices(
        open_array(case.image).read_all(),
        case=case.id,
        crop_start=case.crop_start,
        crop_stop=case.crop_stop,
        source=case.source,
    )
    path = write_array(out / "pred.b2nd", pred)
    seconds = time.monotonic() - started
    logger.info("case %s: predicted %s voxels in %.1f s", case.id, pred.shape, seconds)
    return PredictedCase(id=case.id, split=case.split, fold=case.fold, pred=path, seconds=seconds)
