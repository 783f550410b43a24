"""What MLflow can hold: flat parameters, names it accepts, values that are not too long."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_VALUE = 6000
"""Longest parameter value MLflow stores (``mlflow.utils.validation.MAX_PARAM_VAL_LENGTH``)."""
MAX_KEY = 250
"""Longest key of a parameter, metric or tag that MLflow stores."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Join nested keys by dots and turn values into text; sequences become JSON.

    Examples
    --------
    >>> flatten({"train": {"lr": 0.01, "loss": {"name": "dice_ce"}}, "spacing": (1.0, 1.0)})
    {'train.lr': '0.01', 'train.loss.name': 'dice_ce', 'spacing': '[1.0, 1.0]'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[safe_name(name)] = _text(value)
    return flat


def split_long(params: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Divide parameters into those MLflow can hold and those that go to an artifact."""
    short = {k: v for k, v in params.items() if len(v) <= MAX_VALUE and len(k) <= MAX_KEY}
    return short, {k: v for k, v in params.items() if k not in short}


def safe_name(name: str) -> str:
    """Replace what MLflow refuses in a name: other signs than letters, digits, ``_-. /``.

    Examples
    --------
    >>> safe_name("test/dice/tumour (core)")
    'test/dice/tumour _core_'
    >>> safe_name("/a//b/../c")
    'a/b/_/c'
    """
    parts = [part for part in re.sub(r"[^\w.\- /]", "_", name).split("/") if part]
    return "/".join("_" if set(part) == {"."} else part for part in parts) or "_"


def _text(value: Any) -> str:
    """Write a value as the config would, so that runs can be compared by eye."""
    if isinstance(value, str | Path):
        return str(value)
    return json.dumps(value, default=str)
