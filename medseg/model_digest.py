"""One name for all that decides what a model predicts, so that outputs can tell which made them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from medseg.ensemble_folder import EnsembleFolder, Model
from medseg.model_document import DOCUMENT, file_digest
from medseg.model_folder import EXPORT, ModelFolder

DECISIVE = ("network", "preprocessing", "tiles", "inference", "scheme", "postprocessing")
"""Keys of ``model.json`` that change what is predicted; the rest tells of its making."""


def model_digest(model: Model) -> str:
    """Return the digest of networks, weights, rules and inference settings of a model.

    The same folder keeps its digest under later versions of medseg, wherever it is copied to;
    ``with_folds`` changes it. Weights are read only where ``model.json`` of an earlier version does
    not hold their digests.

    Parameters
    ----------
    model : ModelFolder or EnsembleFolder
    """
    if isinstance(model, EnsembleFolder):
        told: Any = {
            "parts": [_decisive(part) for part in model.parts],
            "postprocessing": to_jsonable_python(model.rules),
        }
    else:
        told = _decisive(model)
    text = json.dumps(told, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _decisive(model: ModelFolder) -> dict[str, Any]:
    """Collect what decides one model's predictions."""
    # as written, not as read: a later version reads more settings out of the same file
    written = json.loads((model.folder / DOCUMENT).read_text(encoding="utf-8"))
    export = model.folder / EXPORT
    return {
        **{key: written.get(key) for key in DECISIVE},
        "channels": model.document.data.channels,
        "folds": [member.fold for member in model.document.members],
        "weights": _weights(model),
        "export": export.read_text(encoding="utf-8") if model.is_export else None,
        "previous": None if model.previous is None else _decisive(model.previous),
    }


def _weights(model: ModelFolder) -> list[str]:
    """Return the digests of a model's weights."""
    known = [member.digest for member in model.document.members]
    if all(known):
        return known
    files: list[Path] = list(model.weights)
    if model.is_export:  # of an earlier version; it holds graphs in place of weights
        files = sorted(p for p in model.folder.iterdir() if p.is_file() and p.suffix != ".json")
    return [file_digest(file) for file in files]
