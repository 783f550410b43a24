"""Folders that transformers' ``save_pretrained`` writes; none is ever downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import ConfigError


def folder_of(path: str | Path) -> Path:
    """Return a folder that is there.

    Raises
    ------
    ConfigError
        If it is not: names of models in a hub are not looked up.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"network.arguments: '{path}' is no local folder with a config.json; download the "
            "model first (nothing is fetched from here) and give its folder"
        )
    return folder


def read_config(source: str | Path | Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the configuration of a folder, or the one given.

    Raises
    ------
    ConfigError
        If the folder has none, it cannot be read, or it is that of another kind of model.
    """
    if isinstance(source, Mapping):
        return source
    file = folder_of(source) / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{file}: this is not JSON ({error}); download the model again"
        ) from error
    kind = content.get("model_type")
    if kind != name:
        raise ConfigError(
            f"{file}: holds a model of kind '{kind}', not '{name}'; give the folder of a '{name}'"
        )
    return dict(content)
