"""The examples in docstrings run and say what they print."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import medseg

ROOT = Path(medseg.__file__).parent
MODULES = sorted(
    ".".join(("medseg", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failed, run = doctest.testmod(importlib.import_module(name))
    assert run > 0
    assert failed == 0
