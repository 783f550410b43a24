import math

import numpy as np
import pytest

from medseg.reporting import charts
from medseg.reporting.charts import (
    agreement_alt,
    agreement_chart,
    distribution_alt,
    distribution_chart,
    limits_of_agreement,
    size_alt,
    size_chart,
    size_marks,
    training_chart,
)
from tests.reporting.examples import label_map, report

COLORS = {"liver": "#E69F00", "tumour": "#56B4E9"}


@pytest.fixture
def scores(tmp_path):
    label = label_map()
    preds = [label, np.roll(label, 1, axis=0), np.where(label == 2, 1, label).astype(np.int16)]
    cases = [report(tmp_path, str(i), pred, label).scores for i, pred in enumerate(preds)]
    return {"liver": [c[0] for c in cases], "tumour": [c[1] for c in cases]}


def test_plots_are_pictures_also_with_missed_structures(scores):
    assert distribution_chart(scores, COLORS, "mm").startswith(b"\x89PNG")
    assert agreement_chart(scores, COLORS, "mm").startswith(b"\x89PNG")
    assert size_chart(scores, COLORS, "mm").startswith(b"\x89PNG")


def test_plots_of_one_empty_structure_are_drawn_too(tmp_path):
    empty = np.zeros((6, 6, 6), dtype=np.int16)
    found = {"liver": [report(tmp_path, "a", empty, empty).scores[0]]}
    assert distribution_chart(found, COLORS, "mm").startswith(b"\x89PNG")
    assert agreement_chart(found, COLORS, "mm").startswith(b"\x89PNG")
    assert size_chart(found, COLORS, "mm").startswith(b"\x89PNG")
    assert "no reference shows a structure" in size_alt(found, "mm")
    assert "nothing to measure" in distribution_alt(found, "mm")
    assert "fewer than three" in agreement_alt(found, "mm")


def test_the_words_say_what_the_plots_show(scores):
    assert "tumour from 0.000 to 1.000, median 0.000" in distribution_alt(scores, "mm")
    assert "tumour mean -0.00267 mL" in agreement_alt(scores, "mm")
    liver = [s.dice for s in sorted(scores["liver"], key=lambda s: (s.reference_volume_ml, s.dice))]
    assert f"mean Dice {liver[0]:.3f} in the smaller half, {liver[-1]:.3f}" in size_alt(
        scores, "mm"
    )


def test_limits_of_agreement_by_hand(scores):
    mean, low, high = limits_of_agreement(scores["tumour"])  # errors 0, 0, -0.008 mL
    spread = 1.96 * math.sqrt(2 * (0.008 / 3) ** 2 / 2 + (2 * 0.008 / 3) ** 2 / 2)
    assert mean == pytest.approx(-0.008 / 3)
    assert (low, high) == pytest.approx((mean - spread, mean + spread))
    assert limits_of_agreement(scores["tumour"][:2]) is None


def test_the_training_curve_reads_the_history(tmp_path):
    file = tmp_path / "history.csv"
    file.write_text("step,train/loss,train/loss/dice,val/dice/liver\n1,2.0,1.0,0.1\n2,1.0,,nan\n")
    assert training_chart(file).startswith(b"\x89PNG")
    file.write_text("step,train/loss,val/dice/liver\n")
    assert training_chart(file) is None
    file.write_text("step,seconds\n1,2\n")
    assert training_chart(file) is None


def test_the_training_curve_shows_what_decided(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "png_bytes", lambda figure: drawn.append(figure) or b"png")
    file = tmp_path / "history.csv"
    file.write_text(
        "step,train/loss,val/dice/pole,val/miou,val/pixel_accuracy,val/class_iou/pole\n"
        "1,2.0,0.5,0.4,0.9,0.1\n"
    )
    assert training_chart(file) == b"png"
    _, scores = drawn[0].axes
    assert [line.get_label() for line in scores.lines] == ["val/miou", "val/class_iou/pole"]
    assert scores.get_ylabel() == "IoU on validation"


@pytest.mark.parametrize(
    ("volumes", "wanted"),
    [
        ([0.01, 3000.0], ["0.01", "5.48", "3,000"]),
        ([1e6, 2.5e7], ["1,000,000", "5,000,000", "25,000,000"]),
        ([100.0, 100.2], ["100"]),
        ([0.0004], ["0.0004"]),
    ],
)
def test_marks_of_volumes_are_few_and_plain(volumes, wanted):
    marks = size_marks(volumes)
    assert list(marks.values()) == wanted
    assert all(min(volumes) * 0.999 <= place <= max(volumes) * 1.001 for place in marks)
