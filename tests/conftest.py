"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with the real data sets; tests that use it carry the marker ``data``."""
    root = os.environ.get("MEDSEG_TEST_DATA")
    if not root:
        pytest.skip("MEDSEG_TEST_DATA is not set: it names the folder with the real data")
    return Path(root)
