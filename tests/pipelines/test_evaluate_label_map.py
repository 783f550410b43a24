"""References in a data set's own encoding, predictions in the values of the label table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipelines.test_evaluate import run, table

TABLE = "labels: {road: 1, sky: 2}\nlabel_map: {0: road, 1: sky, 11: ignore}\n"


def save(path: Path, values: list[list[int]]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(path)


def test_reference_is_read_by_the_label_map_and_its_void_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "r" / "a.png", [[0, 0, 0, 0], [1, 1, 11, 11]])
    save(tmp_path / "p" / "a.png", [[1, 1, 1, 2], [2, 2, 1, 2]])
    labels = tmp_path / "labels.yaml"
    labels.write_text(TABLE)
    assert run(tmp_path, labels=labels).set_aside == ()
    rows = table(tmp_path)
    assert float(rows["a", "road"]["dice"]) == pytest.approx(6 / 7)  # 3 of 4, void apart
    assert float(rows["a", "sky"]["dice"]) == pytest.approx(4 / 5)


def test_value_of_the_reference_outside_the_map_sets_the_case_aside(tmp_path: Path) -> None:
    save(tmp_path / "r" / "a.png", [[0, 1]])
    save(tmp_path / "p" / "a.png", [[1, 2]])
    save(tmp_path / "r" / "b.png", [[0, 5]])
    save(tmp_path / "p" / "b.png", [[1, 2]])
    labels = tmp_path / "labels.yaml"
    labels.write_text(TABLE)
    (aside,) = run(tmp_path, labels=labels).set_aside
    assert aside.case == "b"
    assert "value 5 is not in the label map" in aside.reason
