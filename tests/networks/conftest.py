"""What is the same promise once more, in another size or depth, runs only when asked for."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``matrix``, unless ``-m`` names that marker or ``::`` a test."""
    if "matrix" in config.option.markexpr or any("::" in arg for arg in config.args):
        return
    out = [item for item in items if item.get_closest_marker("matrix")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not item.get_closest_marker("matrix")]
