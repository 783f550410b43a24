"""Keys of the config that messages and pages name are keys that a config takes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8"))
SECTIONS = (
    "compute", "infer", "network", "patch_sample", "plan", "postprocess", "report", "resample",
    "tracking", "train",
)  # fmt: skip
KEY = re.compile(rf"(?<![\w./@-])({'|'.join(SECTIONS)})((?:\.[a-z_]+)+)(?![\w(])")
DECIDED = {"network.slice_axis", "resample.coarse_axis"}
"""Rows of the plan that no config sets."""
FILES = ("py", "md", "yaml", "json", "csv", "html", "txt", "onnx", "safetensors")
PREFIXES_OF_WEIGHTS = "pretrained.py"


def taken(node: dict[str, Any], keys: list[str]) -> bool:
    """Tell whether the schema has a path of keys; what is below a free mapping is not known."""
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    choices = [node, *node.get("anyOf", ()), *node.get("oneOf", ())]
    if not keys or any("$ref" in one and taken(one, keys) for one in choices[1:]):
        return True
    fields = {k: v for one in choices for k, v in one.get("properties", {}).items()}
    return taken(fields[keys[0]], keys[1:]) if keys[0] in fields else not fields


def unknown(text: str) -> list[str]:
    """Return the keys that a text names and no config has."""
    named = [match[0] for match in KEY.finditer(text)]
    return [
        key
        for key in named
        if key.rsplit(".", 1)[-1] not in FILES
        and key not in DECIDED
        and not taken(SCHEMA, key.split("."))
    ]


def spoken(source: str) -> Iterator[str]:
    """Yield the strings of a module but for its docstrings."""
    tree = ast.parse(source)
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in silent
        ):
            yield node.value


def test_the_check_itself() -> None:
    assert unknown("set train.budget or network.arguments.widths, see plan.yaml") == []
    assert unknown("set plan.spacing finer, train.buget=1h") == ["plan.spacing", "train.buget"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_pages_name_keys_that_are_there(page: Path) -> None:
    assert unknown(page.read_text(encoding="utf-8")) == []


def test_messages_name_keys_that_are_there() -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {key}"
        for path in (ROOT / "medseg").rglob("*.py")
        if path.name != PREFIXES_OF_WEIGHTS
        for text in spoken(path.read_text(encoding="utf-8"))
        for key in unknown(text)
    }
    assert wrong == set()
