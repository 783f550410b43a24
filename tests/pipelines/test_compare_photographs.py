"""`medseg compare` of photographs: the IoU comes first, and the mIoU over the set is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.metric_tables import A, B, compare, document, write
from tests.reporting.examples import Page


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def run(name: str, values: tuple[float, ...], summary: dict[str, Any]) -> None:
    folder = write(name, {"dice": values, "iou": [v / (2 - v) for v in values]})
    (folder / "report" / "summary.json").write_text(json.dumps({"headline": "test", **summary}))


def miou(test: float, validation: float = 0.4) -> dict[str, Any]:
    return {"pixels": {"miou": test, "validation": {"miou": validation}}}


def test_photographs_judged_by_miou(capsys: pytest.CaptureFixture[str]) -> None:
    run("a", A, {"score": "miou", **miou(0.61)})
    run("b", B, miou(0.7049))  # of an earlier version: photographs, so by mIoU
    assert compare("a", "b") == 0
    found = document()
    assert found["score"] == "miou"
    assert found["set_miou"] == {"a": 0.61, "b": 0.7049}
    assert [row["metric"] for row in found["comparisons"]] == ["iou", "dice"]
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "mIoU over all pixels of the test pictures: a 0.6100, b 0.7049"
    assert second.startswith("liver, iou: ")
    page = Page(Path("comparison/comparison.html").read_text(encoding="utf-8"))
    assert "over all pixels of its test pictures" in page.words
    assert "The networks were chosen by the mIoU of their validation pictures." in page.words
    assert "0.705" in page.words


def test_of_a_run_that_was_chosen_by_dice_the_dice_comes_first() -> None:
    run("a", A, {"score": "dice", **miou(0.61)})
    run("b", B, {"score": "miou", **miou(0.7)})
    assert compare("a", "b") == 0
    found = document()
    assert (found["score"], found["set_miou"]["b"]) == ("dice", 0.7)
    assert [row["metric"] for row in found["comparisons"]] == ["dice", "iou"]
    page = Path("comparison/comparison.html").read_text(encoding="utf-8")
    assert "were chosen by" not in page


def test_volumes_have_no_miou_of_a_set() -> None:
    run("a", A, {})
    run("b", B, {"score": "dice"})
    assert compare("a", "b") == 0
    assert (document()["score"], document()["set_miou"]) == ("dice", {})
    assert "mIoU" not in Path("comparison/comparison.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("headline", "expected"), [("test", 0.4), ("validation", 0.61)])
def test_the_split_that_is_compared_has_its_own(headline: str, expected: float) -> None:
    """Without test pictures the headline is the validation, and stands alone."""
    for name in ("a", "b"):
        write(name, {"iou": A}, split="validation")
        summary = {"headline": headline, **miou(0.61)}
        if headline == "validation":
            summary["pixels"].pop("validation")
        (Path(name) / "report" / "summary.json").write_text(json.dumps(summary))
    assert compare("a", "b") == 0
    assert document()["set_miou"] == {"a": expected, "b": expected}
