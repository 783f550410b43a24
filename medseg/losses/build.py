"""From a config's ``train.loss`` to a loss, with every mistake explained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from medseg.errors import ConfigError
from medseg.losses.base import Activation, Loss
from medseg.losses.compound import Term, WeightedSum
from medseg.losses.weighting import read_weight
from medseg.registry import lookup, nearest

Table = Mapping[str, Callable[..., Loss]]
Settings = Mapping[str, Any] | Sequence[Mapping[str, Any]]

OWN_KEYS = ("name", "weight", "as", "auto_balance")
"""Keys of a term of a sum; the others are the arguments of its loss."""
GIVEN = ("self", "activation", "regions")
"""Arguments that no config sets."""


def build_from(
    table: Table,
    settings: Settings,
    activation: Activation,
    regions: Sequence[Sequence[int]] = (),
    spacing: Sequence[float] | None = None,
) -> Loss:
    """Build one loss, or the weighted sum of a list of them; see `medseg.losses.build_loss`."""
    if isinstance(settings, Mapping):
        return _one(table, settings, activation, regions, spacing, "train.loss")
    if not isinstance(settings, list | tuple) or not settings:
        raise ConfigError(f"train.loss is {settings!r}; write a mapping, or a list of mappings")
    parts = [
        _term(table, term, activation, regions, spacing, f"train.loss[{position}]")
        for position, term in enumerate(settings)
    ]
    try:
        return WeightedSum(activation, regions, parts=parts)
    except ConfigError as error:
        raise ConfigError(f"train.loss: {error}") from error


def _term(
    table: Table,
    settings: Any,
    activation: Activation,
    regions: Sequence[Sequence[int]],
    spacing: Sequence[float] | None,
    where: str,
) -> Term:
    """Build one term of a sum."""
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where} is {settings!r}; write a mapping with a 'name'")
    plain = {k: v for k, v in settings.items() if k == "name" or k not in OWN_KEYS}
    loss = _one(table, plain, activation, regions, spacing, where)
    shown = settings.get("as", settings["name"])
    if not re.fullmatch(r"[\w.-]+", str(shown)) or shown == "loss":
        raise ConfigError(
            f"{where}: as is {shown!r}; use letters, digits, '_', '.', '-', and not 'loss' itself"
        )
    balance = settings.get("auto_balance", False)
    if not isinstance(balance, bool):
        raise ConfigError(f"{where}: auto_balance is {balance!r}; it must be true or false")
    try:
        weight = read_weight(settings.get("weight", 1.0))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Term(name=str(shown), loss=loss, weight=weight, auto_balance=balance)


def _one(
    table: Table,
    settings: Mapping[str, Any],
    activation: Activation,
    regions: Sequence[Sequence[int]],
    spacing: Sequence[float] | None,
    where: str,
) -> Loss:
    """Build one loss by its name."""
    arguments = dict(settings)
    if "name" not in arguments:
        raise ConfigError(f"{where} has no 'name'; known: {', '.join(sorted(table))}")
    name = str(arguments.pop("name"))
    try:
        kind = lookup(table, name, "loss")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    try:
        arguments = check_arguments(kind, arguments)
        if getattr(kind, "takes_spacing", False):
            arguments.setdefault("spacing", spacing)
        return kind(activation, regions, **arguments)
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError(f"{where} '{name}': {error}") from error


def settings_of(kind: Callable[..., Loss]) -> dict[str, Any]:
    """Return the types of the settings of a loss by name, those it shares with others included."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind, eval_str=True).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:  # **shared: Unpack[Shared]
            found |= get_type_hints(get_args(parameter.annotation)[0])
        elif name not in GIVEN:
            found[name] = parameter.annotation
    return found


def check_arguments(kind: Callable[..., Loss], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as the loss annotates them.

    Raises
    ------
    ConfigError
        For one that the loss does not have, or a value of another type.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    known = settings_of(kind)
    anything = ConfigDict(arbitrary_types_allowed=True)
    checked: dict[str, Any] = {}
    for key, value in arguments.items():
        if key not in known:
            hint = nearest(key, known) if known else "it takes none"
            if key in OWN_KEYS:
                hint = "that is for the terms of a list: [{name: ..., weight: ...}, ...]"
            raise ConfigError(f"no argument '{key}'; {hint}")
        try:
            checked[key] = TypeAdapter(known[key], config=anything).validate_python(value)
        except ValidationError as error:
            said = dict.fromkeys(str(one["msg"]) for one in error.errors())
            raise ConfigError(f"{key} is {value!r}: {', or '.join(said)}") from error
    return checked
