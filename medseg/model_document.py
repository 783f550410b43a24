"""``model.json``: all that predicting needs beside the weights.

It is meant to be read by people and other programs too: network, preprocessing in the order it
happens, tiles, label table, post-processing, and where the training data came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import medseg
from medseg.artefacts import ChannelNormalization, DataInfo, NetworkSpec
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.geometry.resize import Resize
from medseg.labels import LabelScheme
from medseg.settings import Inference

DOCUMENT, WEIGHTS = "model.json", "weights.safetensors"
FORMAT_VERSION = 2
"""2: ``members`` in place of one ``training``; folders of format 1 are read as one member."""


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
    resize: Resize | None = None
    """For photographs in place of ``spacing``: the size that each is brought to."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How the network sees an image."""

    patch_size: tuple[int, ...]
    slice_axis: int | None
    """Axis whose slices a 2-D network sees one by one."""
    mirror_axes: tuple[int, ...]
    """Axes that training flipped, so that predictions may be averaged over them."""


@dataclass(frozen=True, kw_only=True)
class InputExample:
    """Shape and type of what the network takes: one tile in a batch of one."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of the model, and how its weights came about."""

    weights: str
    """Name of its safetensors file in the folder."""
    fold: int
    """Fold it did not train on."""
    steps: int
    best_step: int
    seconds: float
    validation_dice: Mapping[str, float | None]
    """None where no validation case had the structure."""
    validation_miou: float | None = None
    """mIoU over all validation pixels, by which the step was chosen; None where it was chosen by
    the mean Dice."""
    digest: str = ""
    """Of its weights file; empty in folders of earlier versions."""


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
    """The settings under which post-processing was decided."""
    scheme: LabelScheme
    postprocessing: tuple[PostprocessRule, ...]
    members: tuple[Member, ...]
    """Networks of one form, by fold; a prediction is the mean of their logits."""
    input_example: InputExample
    previous: bool = False
    """Whether the network also sees what the model in ``previous/`` predicts, one channel a label
    behind those of the image."""


def file_digest(file: Path) -> str:
    """Return the digest that stands for the content of a weights file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_document(folder: Path, document: ModelDocument) -> Path:
    """Write ``model.json`` in the present form and return its path."""
    from pydantic import TypeAdapter

    path = folder / DOCUMENT
    current = replace(document, format=FORMAT_VERSION)
    text = TypeAdapter(ModelDocument).dump_json(current, indent=2).decode()
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read_document(file: Path) -> ModelDocument:
    """Read ``model.json`` and check it.

    Raises
    ------
    ConfigError
        If it is not JSON, of another version, or describes no model.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file}: not readable as JSON ({error}); copy the model again"
        ) from error
    version = data.get("format") if isinstance(data, dict) else None
    if version == 1:
        data["members"] = [{"weights": WEIGHTS, **data.pop("training", {})}]
    elif version != FORMAT_VERSION:
        raise ConfigError(
            f"{file}: format is {version!r}, and medseg {medseg.__version__} reads formats 1 "
            f"to {FORMAT_VERSION}; use the medseg version named in the file, or a newer one"
        )
    if isinstance(data.get("inference"), dict):
        data["inference"].setdefault("skip_empty", False)  # written before there was a choice
    try:
        return TypeAdapter(ModelDocument).validate_python(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(key) for key in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigError(f"{file}: {faults}; copy the model again") from error
