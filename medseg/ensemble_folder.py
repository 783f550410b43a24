"""A folder of several models that predict together, and their common post-processing.

``ensemble.json`` names the parts; each is a model folder of its own (`medseg.model_folder`), with
its own plan. What they predict is averaged as probabilities on the grid of the image.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import medseg
from medseg.artefacts import Plan
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.model_document import DOCUMENT as PART_DOCUMENT
from medseg.model_document import ModelDocument
from medseg.model_folder import PREVIOUS, ModelFolder, read_model_folder
from medseg.preprocessing import Recipe

DOCUMENT = "ensemble.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class EnsembleDocument:
    """``ensemble.json``."""

    format: int
    medseg: str
    """Version of medseg that wrote it."""
    parts: tuple[str, ...]
    """Names of the parts' folders."""
    postprocessing: tuple[PostprocessRule, ...]
    """Applied to the mean; the parts' own rules are not."""


@dataclass(frozen=True, kw_only=True)
class EnsembleFolder:
    """An ensemble that was read and found complete."""

    folder: Path
    parts: tuple[ModelFolder, ...]
    rules: tuple[PostprocessRule, ...]

    @property
    def document(self) -> ModelDocument:
        """The first part's: label table, channels and origin are the same for all."""
        return self.parts[0].document

    @property
    def plans(self) -> tuple[Plan, ...]:
        """One per part."""
        return tuple(part.plan for part in self.parts)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """How the image is prepared for each part."""
        return tuple(part.recipe for part in self.parts)

    def with_folds(self, folds: Sequence[int]) -> EnsembleFolder:
        """Return the same with the members of some folds alone, in every part."""
        return replace(self, parts=tuple(part.with_folds(folds) for part in self.parts))


Model = ModelFolder | EnsembleFolder
"""Whatever ``medseg predict`` runs."""


def write_ensemble_folder(
    folder: Path, parts: Sequence[tuple[str, ModelFolder]], rules: Sequence[PostprocessRule]
) -> Path:
    """Copy models into one new folder and write ``ensemble.json``.

    Parameters
    ----------
    folder : Path
        Must not exist.
    parts : sequence of (str, ModelFolder)
        Name of the sub-folder, and the model.
    rules : sequence of PostprocessRule

    Raises
    ------
    ConfigError
        If the models do not segment the same structures of the same images.
    """
    from pydantic import TypeAdapter

    check_parts([model for _, model in parts])
    folder.mkdir(parents=True)
    for name, model in parts:
        (folder / name).mkdir()
        for file in (model.folder / PART_DOCUMENT, *model.weights):
            shutil.copyfile(file, folder / name / file.name)
        if model.previous is not None:
            shutil.copytree(model.previous.folder, folder / name / PREVIOUS)
    document = EnsembleDocument(
        format=FORMAT_VERSION,
        medseg=medseg.__version__,
        parts=tuple(name for name, _ in parts),
        postprocessing=tuple(rules),
    )
    text = TypeAdapter(EnsembleDocument).dump_json(document, indent=2).decode()
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")
    return folder


def open_model(path: Path) -> Model:
    """Read whatever ``medseg predict`` runs: a model folder, a run folder, an ensemble.

    Raises
    ------
    ConfigError
        If there is none, or it is not complete.
    """
    file = path / DOCUMENT
    return read_ensemble_folder(path) if file.is_file() else read_model_folder(path)


def read_ensemble_folder(folder: Path) -> EnsembleFolder:
    """Read an ensemble and its parts.

    Raises
    ------
    ConfigError
        If ``ensemble.json`` does not describe one, or a part is missing or does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    file = folder / DOCUMENT
    try:
        document = TypeAdapter(EnsembleDocument).validate_python(json.loads(file.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigError(f"{file}: not readable ({error}); copy the model again") from error
    if document.format != FORMAT_VERSION:
        raise ConfigError(
            f"{file}: format is {document.format}, and medseg {medseg.__version__} reads format "
            f"{FORMAT_VERSION}; use the medseg version named in the file, or a newer one"
        )
    if not document.parts or any(Path(name).name != name for name in document.parts):
        raise ConfigError(f"{file}: parts must name sub-folders; copy the model again")
    parts = tuple(read_model_folder(folder / name) for name in document.parts)
    check_parts(parts)
    return EnsembleFolder(folder=folder, parts=parts, rules=document.postprocessing)


def check_parts(parts: Sequence[ModelFolder]) -> None:
    """Refuse models whose predictions cannot be averaged."""
    first = parts[0].document
    for part in parts[1:]:
        other = part.document
        if other.data.channels != first.data.channels:
            raise ConfigError(
                f"{part.folder} and {parts[0].folder}: channels {', '.join(other.data.channels)} "
                f"and {', '.join(first.data.channels)}; models of one ensemble see the same images"
            )
        if other.scheme != first.scheme:
            raise ConfigError(
                f"{part.folder} and {parts[0].folder} have different label tables; train both "
                "with one manifest"
            )
