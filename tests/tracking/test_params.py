from __future__ import annotations

from pathlib import Path

import pytest

from medseg.tracking.params import MAX_KEY, MAX_VALUE, flatten, safe_name, split_long


def test_values_read_as_in_the_config() -> None:
    config = {"a": {"b": {"c": None}}, "flag": True, "spacing": (1.0, 2.5), "root": Path("data")}
    assert flatten(config) == {
        "a.b.c": "null",
        "flag": "true",
        "spacing": "[1.0, 2.5]",
        "root": "data",
    }


def test_empty_section_is_kept() -> None:
    assert flatten({"augment": {}, "names": []}) == {"augment": "{}", "names": "[]"}


def test_flat_params_stay_as_they_are() -> None:
    flat = flatten({"train": {"lr": 0.1}})
    assert flatten(flat) == flat


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("val/dice/left atrium", "val/dice/left atrium"),
        ("val/dice/Ödem", "val/dice/Ödem"),
        ("val/dice/a:b*c", "val/dice/a_b_c"),
        ("/../x//", "_/x"),
        ("", "_"),
    ],
)
def test_names_mlflow_takes(name: str, safe: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert safe_name(name) == safe
    _validate_metric_name(safe)


def test_limits_are_those_of_mlflow() -> None:
    from mlflow.utils import validation

    assert validation.MAX_PARAM_VAL_LENGTH == MAX_VALUE
    assert validation.MAX_ENTITY_KEY_LENGTH == MAX_KEY


def test_long_keys_and_values_are_parted_at_the_limit() -> None:
    params = {"k" * MAX_KEY: "v", "k" * (MAX_KEY + 1): "v", "a": "v" * MAX_VALUE}
    short, long = split_long({**params, "b": "v" * (MAX_VALUE + 1)})
    assert set(short) == {"k" * MAX_KEY, "a"}
    assert set(long) == {"k" * (MAX_KEY + 1), "b"}
