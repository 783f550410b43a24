"""Settings of the augmentation: shipped presets, what a config changes in them, and checks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from medseg.errors import ConfigError
from medseg.registry import nearest

PRESETS = Path(__file__).parent / "presets"
LabelMode = Literal["nearest", "linear"]
BY_SHAPE = "by_shape"
POSITIVE = ("scale", "gamma", "gamma_inverted", "low_resolution")
"""Transforms whose range is of factors or exponents."""

Settings = dict[str, dict[str, Any]]


def list_presets() -> list[str]:
    """Return the names that ``train.augment.preset`` takes, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(name: str = "default") -> Settings:
    """Return every transform with its settings as a shipped preset has them.

    Parameters
    ----------
    name : str
        See `list_presets`; what a preset leaves out is as in ``default``.

    Raises
    ------
    ConfigError
        If there is no such preset.

    Examples
    --------
    >>> load_preset("nnunet")["blur"]
    {'p': 0.2, 'range': (0.5, 1.0), 'channel_p': 0.5}
    """
    settings = deepcopy(_read("default")[1])
    for transform, values in _read(name)[1].items():
        settings[transform].update(values)
    return settings


def resolve_settings(overrides: Mapping[str, Any]) -> Settings:
    """Merge overrides into a preset.

    Parameters
    ----------
    overrides : mapping
        By transform name: a mapping of its settings, or False to leave it out. ``preset`` names
        another preset than ``default``, ``labels`` is for `resolve_labels`, and
        ``enabled: false`` leaves all out.

    Raises
    ------
    ConfigError
        For an unknown transform, setting or preset, or a value that cannot be; the message gives
        the nearest name.
    """
    preset = load_preset(overrides.get("preset", "default"))
    keys = [*preset, "enabled", "labels", "preset"]
    unknown = [name for name in overrides if name not in keys]
    if unknown:
        hint = nearest(unknown[0], keys)
        raise ConfigError(f"train.augment: no transform is named '{unknown[0]}'; {hint}")
    resolve_labels(overrides)
    if overrides.get("enabled", True) is False:
        return {}
    settings = {}
    for name, defaults in preset.items():
        override = overrides.get(name, {})
        if override is False:
            continue
        if not isinstance(override, Mapping):
            raise ConfigError(
                f"train.augment.{name} is {override!r}; give its settings "
                f"({', '.join(defaults)}), or false to leave it out"
            )
        wrong = [key for key in override if key not in defaults]
        if wrong:
            hint = nearest(wrong[0], defaults)
            raise ConfigError(f"train.augment.{name} has no setting '{wrong[0]}'; {hint}")
        settings[name] = {**defaults, **override}
        _check(name, settings[name])
    return settings


def resolve_labels(overrides: Mapping[str, Any]) -> LabelMode:
    """Return how labels are resampled: what the overrides say, else their preset.

    Raises
    ------
    ConfigError
        If it is neither ``nearest`` nor ``linear``.
    """
    mode = overrides.get("labels") or _read(overrides.get("preset", "default"))[0] or "nearest"
    if mode not in get_args(LabelMode):
        raise ConfigError(f"train.augment.labels is {mode!r}; it is one of nearest, linear")
    return cast(LabelMode, mode)


@cache
def _read(name: str) -> tuple[str | None, Settings]:
    """Read a preset file: how labels are resampled, and its transforms."""
    if name not in list_presets():
        hint = nearest(str(name), list_presets())
        raise ConfigError(f"train.augment.preset: nothing is named {name!r}; {hint}")
    content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    labels = content.pop("labels", None)
    settings = {
        transform: {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for transform, values in content.items()
    }
    return labels, settings


def _check(name: str, setting: Mapping[str, Any]) -> None:
    """Refuse probabilities outside [0, 1], ranges that are none, and what is no number."""
    for key, value in setting.items():
        where = f"train.augment.{name}.{key}"
        if key == "range":
            _check_range(where, value, positive=name in POSITIVE)
        elif (name, key, value) == ("rotate", "degrees", BY_SHAPE):
            continue
        elif not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(f"{where} is {value!r}; it is a number")
        elif key in ("p", "channel_p") and not 0 <= value <= 1:
            raise ConfigError(f"{where} is {value}; it is a probability")
        elif value < 0 or (key == "cell" and not 0.05 <= value <= 1):
            least = "between 0.05 and 1" if key == "cell" else "at least 0"
            raise ConfigError(f"{where} is {value}; it must be {least}")


def _check_range(where: str, value: Any, *, positive: bool) -> None:
    """Refuse what is not two numbers in order; all ranges but factors may begin at 0."""
    ends = tuple(value) if isinstance(value, list | tuple) else (value,)
    numbers = all(isinstance(e, int | float) and not isinstance(e, bool) for e in ends)
    if len(ends) != 2 or not numbers or ends[0] > ends[1] or ends[0] < 0:
        raise ConfigError(f"{where} is {value}; give two numbers of at least 0, low first")
    if positive and ends[0] == 0:
        raise ConfigError(f"{where} is {value}; give two positive numbers, low first")
