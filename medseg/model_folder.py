"""The model folder: weights as safetensors, all else that predicting needs as JSON; no pickle.

``model.json`` is meant to be read by people and other programs too: network, preprocessing in the
order it happens, tiles, label table, post-processing, and where the training data came from.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import medseg
from medseg.artefacts import (
    ChannelNormalization,
    DataInfo,
    NetworkSpec,
    Plan,
    PostprocessRule,
    TrainedModel,
)
from medseg.errors import ConfigError
from medseg.labels import LabelScheme

DOCUMENT, WEIGHTS = "model.json", "weights.safetensors"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to a canonical (closest RAS+) image before the network sees it, in order."""

    crop: bool
    """Crop to the box of voxels that are not zero in all channels."""
    normalization: tuple[ChannelNormalization, ...]
    spacing: tuple[float, ...]
    """Target spacing in mm (px for photographs), canonical axis order."""
    order: int
    """Spline order of the image interpolation."""
    coarse_axis: int | None
    """Axis along which the nearest voxel is taken instead."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How the network sees an image."""

    patch_size: tuple[int, ...]
    slice_axis: int | None
    """Axis whose slices a 2-D network sees one by one."""
    mirror_axes: tuple[int, ...]
    """Axes that training flipped, so that predictions may be averaged over them."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """The settings under which post-processing was decided (see `medseg.stages.infer.Infer`)."""

    overlap: float
    mirror: bool
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class InputExample:
    """Shape and type of what the network takes: one tile in a batch of one."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights came about."""

    fold: int
    steps: int
    best_step: int
    seconds: float
    validation_dice: Mapping[str, float | None]
    """None where no validation case had the structure."""


@dataclass(frozen=True, kw_only=True)
class ModelDocument:
    """``model.json``."""

    format: int
    """Version of this document's form."""
    medseg: str
    """Version of medseg that wrote it."""
    data: DataInfo
    """``origin`` is SYNTHETIC where the model was trained on generated images."""
    network: NetworkSpec
    preprocessing: Preprocessing
    tiles: Tiles
    inference: Inference
    scheme: LabelScheme
    postprocessing: tuple[PostprocessRule, ...]
    training: Training
    input_example: InputExample


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model folder that was read and found complete."""

    folder: Path
    document: ModelDocument

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS

    @property
    def rules(self) -> tuple[PostprocessRule, ...]:
        """Post-processing, one rule per structure."""
        return self.document.postprocessing

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
            patch_size=document.tiles.patch_size,
            batch_size=1,
            slice_axis=document.tiles.slice_axis,
            mirror_axes=document.tiles.mirror_axes,
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
) -> Path:
    """Write ``weights.safetensors`` and ``model.json``.

    Parameters
    ----------
    folder : Path
        Made where it does not exist; files of these names in it are replaced.
    plan : Plan
    model : TrainedModel
        Its weights are copied.
    rules : sequence of PostprocessRule
    inference : Inference
        Settings of the infer stage.

    Returns
    -------
    Path
        ``folder``.
    """
    from pydantic import TypeAdapter

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
        ),
        tiles=Tiles(
            patch_size=plan.patch_size, slice_axis=plan.slice_axis, mirror_axes=plan.mirror_axes
        ),
        inference=inference,
        scheme=plan.scheme,
        postprocessing=tuple(rules),
        training=Training(
            fold=model.fold,
            steps=model.steps,
            best_step=model.best_step,
            seconds=model.seconds,
            validation_dice={
                name: None if math.isnan(dice) else dice
                for name, dice in model.validation_dice.items()
            },
        ),
        input_example=InputExample(
            shape=(1, len(plan.normalization), *plan.patch_size),
            axes=("batch", "channel", *"ijk"[: len(plan.patch_size)]),
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model.weights, folder / WEIGHTS)
    text = TypeAdapter(ModelDocument).dump_json(document, indent=2).decode()
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")
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
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"{folder}: {WEIGHTS} is missing beside {DOCUMENT}; copy both files")
    return ModelFolder(folder=folder, document=_read_document(folder / DOCUMENT))


def _find(path: Path) -> Path:
    """Return the folder that holds model.json: the path itself, or model/ in a run folder."""
    for folder in (path, path / "model"):
        if (folder / DOCUMENT).is_file():
            return folder
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


def _read_document(file: Path) -> ModelDocument:
    """Read and check model.json."""
    from pydantic import TypeAdapter, ValidationError

    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file}: not readable as JSON ({error}); copy the model again"
        ) from error
    version = data.get("format") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"{file}: format is {version!r}, and medseg {medseg.__version__} reads format "
            f"{FORMAT_VERSION}; use the medseg version named in the file, or a newer one"
        )
    try:
        return TypeAdapter(ModelDocument).validate_python(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(key) for key in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigError(f"{file}: {faults}; copy the model again") from error
