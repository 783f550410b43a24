"""The model folder: weights as safetensors, all else that predicting needs as JSON; no pickle."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import medseg
from medseg.artefacts import Plan
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.model_document import (
    DOCUMENT,
    FORMAT_VERSION,
    WEIGHTS,
    InputExample,
    Member,
    ModelDocument,
    Preprocessing,
    Tiles,
    file_digest,
    read_document,
    write_document,
)
from medseg.preprocessing import Recipe
from medseg.settings import Inference
from medseg.trained import Score, TrainedFold, TrainedModel

PREVIOUS = "previous"
"""Sub-folder of a cascade: the model whose prediction its network sees as further channels."""
EXPORT = "export.json"
"""Stands in a folder that holds graphs in place of weights (`medseg.export`)."""


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model folder that was read and found complete."""

    folder: Path
    document: ModelDocument
    previous: ModelFolder | None = None
    """Of a cascade: the model that predicts first."""

    @property
    def weights(self) -> tuple[Path, ...]:
        """The safetensors files, one per member."""
        return tuple(self.folder / member.weights for member in self.document.members)

    @property
    def score(self) -> Score:
        """What decided which step of each member is kept."""
        chosen = [member.validation_miou for member in self.document.members]
        return "dice" if None in chosen else "miou"

    @property
    def is_export(self) -> bool:
        """Whether the folder holds graphs in place of weights."""
        return (self.folder / EXPORT).is_file()

    @property
    def rules(self) -> tuple[PostprocessRule, ...]:
        """Post-processing, one rule per structure."""
        return self.document.postprocessing

    def with_folds(self, folds: Sequence[int]) -> ModelFolder:
        """Return the same model with the members of some folds alone.

        Raises
        ------
        ConfigError
            If it has no member of a fold.
        """
        known = [member.fold for member in self.document.members]
        for fold in folds:
            if fold not in known:
                raise ConfigError(
                    f"{self.folder}: this model has no fold {fold}; it has "
                    f"{', '.join(map(str, known))}"
                )
        chosen = tuple(one for one in self.document.members if one.fold in folds)
        previous = None if self.previous is None else self.previous.with_folds(folds)
        document = replace(self.document, members=chosen)
        return replace(self, document=document, previous=previous)

    @property
    def recipe(self) -> Recipe:
        """How an image is prepared, for the earlier model too where there is one."""
        previous = None if self.previous is None else self.previous.recipe
        return replace(Recipe.of(self.plan), previous=previous)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe, as an ensemble would give those of its parts."""
        return (self.recipe,)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plan, as an ensemble of different plans would give its own."""
        return (self.plan,)

    @property
    def plan(self) -> Plan:
        """The plan as far as predicting needs it: what shaped the training alone is left blank."""
        document = self.document
        return Plan(
            spacing=document.preprocessing.spacing,
            normalization=document.preprocessing.normalization,
            coarse_axis=document.preprocessing.coarse_axis,
            order=document.preprocessing.order,
            crop=document.preprocessing.crop,
            resize=document.preprocessing.resize,
            patch_size=document.tiles.patch_size,
            batch_size=1,
            slice_axis=document.tiles.slice_axis,
            mirror_axes=document.tiles.mirror_axes,
            previous_classes=len(document.scheme.labels) if document.previous else 0,
            network=document.network,
            budget="",
            scheme=document.scheme,
            info=document.data,
            decisions=(),
        )


def write_model_folder(
    folder: Path,
    *,
    plan: Plan,
    model: TrainedModel,
    rules: Sequence[PostprocessRule],
    inference: Inference,
    previous: Path | None = None,
) -> Path:
    """Write ``model.json`` and the weights.

    One network's are ``weights.safetensors``, those of several ``weights-<fold>.safetensors``.

    Parameters
    ----------
    folder : Path
        Made where it does not exist; an earlier model in it is replaced.
    plan : Plan
    model : TrainedModel
        Its weights are copied, those of every fold.
    rules : sequence of PostprocessRule
    inference : Inference
        Settings of the infer stage.
    previous : Path, optional
        Model folder of the earlier run of a cascade; it is copied.

    Returns
    -------
    Path
        ``folder``.
    """
    document = ModelDocument(
        format=FORMAT_VERSION,
        medseg=medseg.__version__,
        data=plan.info,
        network=model.network,
        preprocessing=Preprocessing(
            crop=plan.crop,
            normalization=plan.normalization,
            spacing=plan.spacing,
            order=plan.order,
            coarse_axis=plan.coarse_axis,
            resize=plan.resize,
        ),
        tiles=Tiles(
            patch_size=plan.patch_size, slice_axis=plan.slice_axis, mirror_axes=plan.mirror_axes
        ),
        inference=inference,
        scheme=plan.scheme,
        postprocessing=tuple(rules),
        members=tuple(_member(one, alone=len(model.folds) == 1) for one in model.folds),
        input_example=InputExample(
            shape=(1, plan.in_channels, *plan.patch_size),
            axes=("batch", "channel", *"ijk"[: len(plan.patch_size)]),
        ),
        previous=previous is not None,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("weights*.safetensors"):
        old.unlink()
    for member, trained in zip(document.members, model.folds, strict=True):
        shutil.copyfile(trained.weights, folder / member.weights)
    shutil.rmtree(folder / PREVIOUS, ignore_errors=True)
    if previous is not None:
        shutil.copytree(previous, folder / PREVIOUS)
    write_document(folder, document)
    return folder


def read_model_folder(path: Path) -> ModelFolder:
    """Read a model folder, or the one inside a run folder.

    Parameters
    ----------
    path : Path
        A folder with ``model.json``, or a run folder (``<path>/model``).

    Raises
    ------
    ConfigError
        If there is no model, a file is missing, or ``model.json`` does not describe one.
    """
    folder = _find(path)
    document = read_document(folder / DOCUMENT)
    previous = read_model_folder(folder / PREVIOUS) if document.previous else None
    model = ModelFolder(folder=folder, document=document, previous=previous)
    names = [member.weights for member in model.document.members]
    if not names or any(Path(name).name != name for name in names):
        raise ConfigError(
            f"{folder / DOCUMENT}: members must name at least one file of this folder, not "
            f"{names}; copy the model again"
        )
    missing = [path.name for path in model.weights if not path.is_file()]
    if missing and not model.is_export:
        raise ConfigError(
            f"{folder}: {', '.join(missing)} is missing beside {DOCUMENT}; copy the whole folder"
        )
    return model


def _member(trained: TrainedFold, *, alone: bool) -> Member:
    """Describe a network; a model of one fold keeps the plain file name."""
    return Member(
        weights=WEIGHTS if alone else f"weights-{trained.fold}.safetensors",
        fold=trained.fold,
        steps=trained.steps,
        best_step=trained.best_step,
        seconds=trained.seconds,
        validation_dice={
            name: None if math.isnan(dice) else dice
            for name, dice in trained.validation_dice.items()
        },
        validation_miou=trained.validation_miou,
        digest=file_digest(trained.weights),
    )


def _find(path: Path) -> Path:
    """Return the folder that holds model.json: the path, model/ of a run, models/ of a bundle."""
    for folder in (path, path / "model", path / "models"):
        if (folder / DOCUMENT).is_file():
            return folder
    if (path / "ensemble.json").is_file():
        raise ConfigError(
            f"{path}: is an ensemble of several models, which only 'medseg predict' runs; give one "
            "of the model folders in it"
        )
    if not path.exists():
        raise ConfigError(f"{path}: no such folder; give a run folder or a model folder")
    if (path / "run.json").is_file():
        raise ConfigError(
            f"{path}: this run has no model yet; it is written by the postprocess stage, so finish "
            "the run (the same command goes on where it stopped)"
        )
    raise ConfigError(
        f"{path}: no {DOCUMENT} here nor in {path / 'model'}; give a run folder "
        "(runs/<experiment>) or a model folder"
    )
