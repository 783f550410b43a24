"""``export.json``: which graphs an exported folder holds, and how they were checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import ConfigError
from medseg.model_folder import EXPORT

FORMAT_VERSION = 1
GraphKind = Literal["onnx", "torch-export"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """How the graphs, read back from disk, answered beside the network they were made from."""

    on: str
    """The image: a file, a case of the run, or noise."""
    shape: tuple[int, ...]
    """Channels and voxels of the image, after preprocessing, that were predicted."""
    max_logit_difference: float
    largest_logit: float
    """Largest absolute logit of the network itself, which the difference is to be seen against."""
    mask_agreement: float
    """Share of the voxels to which both give the same class."""
    logit_tolerance: float
    """Largest difference accepted: in logits, or times the largest logit where that is above 1."""
    mask_tolerance: float
    """Smallest agreement accepted."""

    @property
    def passed(self) -> bool:
        """Whether the graphs may stand for the network (never for NaN)."""
        allowed = self.logit_tolerance * max(1.0, self.largest_logit)
        return self.max_logit_difference <= allowed and self.mask_agreement >= self.mask_tolerance


@dataclass(frozen=True, kw_only=True)
class ExportDocument:
    """``export.json``; ``model.json`` beside it describes the model as in a model folder."""

    format: int
    """Version of this document's form."""
    kind: GraphKind
    medseg: str
    """Version of medseg that wrote it."""
    made_with: Mapping[str, str]
    """Versions of the libraries that made the graphs."""
    graphs: Mapping[int, str]
    """Fold of each member of the model and its file; the members' logits are averaged."""
    input: str
    output: str
    """Names of the graph's float32 input (batch, channel, *spatial) and logits."""
    tile: tuple[int | None, ...]
    """Spatial sizes that the graph takes; None where any multiple of ``multiple_of`` will do."""
    multiple_of: tuple[int, ...]
    files: Mapping[str, str]
    """Every file that the graphs consist of, with its SHA-256."""
    check: Check


def write_export_document(folder: Path, document: ExportDocument) -> Path:
    """Write ``export.json`` and return its path."""
    from pydantic import TypeAdapter

    path = folder / EXPORT
    text = TypeAdapter(ExportDocument).dump_json(document, indent=2).decode()
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read_export_document(folder: Path) -> ExportDocument:
    """Read ``export.json`` and make sure that the graphs are there as they were written.

    Raises
    ------
    ConfigError
        If the document does not describe an export, or a file is missing or was changed.
    """
    from pydantic import TypeAdapter, ValidationError

    path = folder / EXPORT
    again = "copy the exported folder again, or export the model once more"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        document = TypeAdapter(ExportDocument).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(key) for key in first["loc"])
        raise ConfigError(f"{path}: {place}: {first['msg']}; {again}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON ({error}); {again}") from error
    if document.format != FORMAT_VERSION:
        raise ConfigError(
            f"{path}: format is {document.format}, and this medseg reads format {FORMAT_VERSION}; "
            f"use medseg {document.medseg}, or export the model once more"
        )
    missing = [name for name in document.files if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder}: {', '.join(missing)} is missing beside {EXPORT}; {again}")
    for name, digest in document.files.items():
        if file_digest(folder / name) != digest:
            raise ConfigError(
                f"{folder / name}: is not the file that was exported (another SHA-256); {again}"
            )
    return document


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Map the names of files to their SHA-256."""
    return {path.name: file_digest(path) for path in sorted(files)}


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
