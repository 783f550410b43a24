"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from medseg.hidden_words import HiddenWords


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with the real data sets; tests that use it carry the marker ``data``."""
    root = os.environ.get("MEDSEG_TEST_DATA")
    if not root:
        pytest.skip("MEDSEG_TEST_DATA is not set: it names the folder with the real data")
    return Path(root)


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test's messages lack words that another test hid."""
    monkeypatch.setattr("medseg.identifiers._HIDDEN", HiddenWords())


def pytest_configure() -> None:
    """Hear Ctrl-C, which a shell's background jobs ignore: tests interrupt runs by it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
