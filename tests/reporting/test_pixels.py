"""The scores over all pixels of a set of photographs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.geometry.volume import Volume
from medseg.io.picture import read_colours, read_mask
from medseg.labels import IGNORE_INDEX, Label, LabelScheme
from medseg.metrics.confusion import confusion_matrix, confusion_scores
from medseg.reporting.assess import describe_case
from medseg.reporting.photo_pictures import draw_photo, error_map, overlay
from medseg.reporting.pixels import pixel_headline, pixel_results, pixel_section, write_pixels

NAMES = ("background", "road", "sky", "sign")
SCHEME = LabelScheme(
    labels=tuple(
        Label(value=i, name=name, color=color)
        for i, (name, color) in enumerate(
            (("road", "#ff0000"), ("sky", "#0000ff"), ("sign", "#00ff00")), start=1
        )
    ),
    label_map={"1": "road", "2": "sky", "3": "sign", "255": "ignore"},
)
LABELS = [
    np.array([[1, 1, 2, 2], [1, 1, 2, IGNORE_INDEX]], np.int16),
    np.array([[2, 2, 2, 2], [1, 1, 3, 3]], np.int16),
]
PREDS = [
    np.array([[1, 1, 2, 2], [1, 2, 2, 1]], np.int16),
    np.array([[2, 2, 2, 1], [1, 1, 1, 3]], np.int16),
]


def reports(folder: Path, roles=("test", "test")):
    made = []
    for i, (pred, label, role) in enumerate(zip(PREDS, LABELS, roles, strict=True)):
        image = Volume(data=np.full((3, 2, 4), 100, np.uint8), affine=np.eye(3))
        where = folder / str(i)
        where.mkdir()
        made.append(
            describe_case(str(i), image, pred, label, SCHEME, None, "photo", role, None, where)
        )
    return made


def test_set_scores_by_hand_with_void_left_out(tmp_path):
    found = pixel_results(reports(tmp_path), "test", NAMES)
    assert found is not None
    assert found.names == NAMES[1:]  # no pixel is or was called background
    assert found.matrix.tolist() == [[5, 1, 0], [1, 6, 0], [1, 0, 1]]
    scores = pixel_headline(found)
    assert scores["test/pixel_accuracy"] == pytest.approx(12 / 15)
    assert scores["test/miou"] == pytest.approx((5 / 8 + 6 / 8 + 1 / 2) / 3)
    assert scores["test/mean_accuracy"] == pytest.approx((5 / 6 + 6 / 7 + 1 / 2) / 3)
    assert scores["test/fwiou"] == pytest.approx((6 * 5 / 8 + 7 * 6 / 8 + 2 * 1 / 2) / 15)
    assert scores["test/class_iou/sign"] == pytest.approx(0.5)
    # the mean over images is another number, and sorts them
    assert [name for name, _ in found.ranked()] == ["1", "0"]


def test_roles_are_apart(tmp_path):
    made = reports(tmp_path, ("validation", "test"))
    test, validation = (pixel_results(made, role, NAMES) for role in ("test", "validation"))
    assert test is not None
    assert validation is not None
    assert "val/miou" in pixel_headline(validation)
    entry = write_pixels(tmp_path, test, [validation])
    assert entry["images"] == entry["validation"]["images"] == 1
    assert entry["mean_accuracy"] == entry["mpa_recall"]
    with (tmp_path / "confusion_validation.csv").open(newline="") as stream:
        assert next(csv.reader(stream)) == ["truth", *NAMES[1:]]
    assert pixel_results(made, "predict", NAMES) is None


def test_background_stays_where_a_pixel_is_called_so(tmp_path):
    made = reports(tmp_path)
    first = np.array(made[0].confusion)
    first[1, 0] = 1  # a road pixel without a class: a miss of road
    made[0] = replace(made[0], confusion=tuple(map(tuple, first.tolist())))
    found = pixel_results(made, "test", NAMES)
    assert found is not None
    assert found.names == NAMES


def test_the_page_shows_worst_and_best_once(tmp_path):
    made = reports(tmp_path)
    found = pixel_results(made, "test", NAMES)
    assert found is not None
    folders = {name: tmp_path / name for name in "01"}
    section = pixel_section([found], {"road": "#ff0000"}, folders)
    titles = {title: [name for name, *_ in chosen] for title, chosen in section["examples"]}
    assert titles == {"Worst pictures": ["1", "0"]}  # two images: none is shown twice
    pictures = section["examples"][0][1][0][2]
    assert [name for name, _ in pictures] == ["prediction", "reference", "errors"]
    assert section["bars"].startswith("data:image/png")
    assert sum(row["share"] for row in section["rows"]) == pytest.approx(1)


def test_errors_are_red_and_void_is_blue(tmp_path):
    image = Volume(data=np.full((3, 2, 4), 100, np.uint8), affine=np.eye(3))
    draw_photo("a", image, PREDS[0], LABELS[0], SCHEME.structures, tmp_path)
    pixels = read_colours(tmp_path / "errors.png").astype(int)
    red = pixels[..., 0] - pixels[..., 2] > 100
    assert np.argwhere(red).tolist() == [[1, 1]]
    assert pixels[1, 3, 2] > pixels[1, 3, 0]
    grey = np.full((2, 4, 3), 0.5)
    painted = overlay(grey, LABELS[0], SCHEME.structures)
    assert painted[1, 3].tolist() == [0.5, 0.5, 0.5]  # ignored: no colour
    assert painted[0, 0, 0] > painted[0, 0, 2]
    assert not (error_map(grey, LABELS[1], LABELS[1])[..., 0] > 0.8).any()


@pytest.mark.data
def test_set_scores_are_torchmetrics_on_camvid(data_root):
    """The annotation of each fifth validation frame, as predicted by that of the frame before."""
    torchmetrics = pytest.importorskip("torchmetrics")
    import torch

    void = 11
    files = sorted((data_root / "camvid/valannot").glob("*.png"))
    frames = [read_mask(path).astype(np.int64) for path in files]
    pairs = [
        (torch.from_numpy(np.where(before == void, 1, before)), torch.from_numpy(now))
        for before, now in zip(frames[::5], frames[1::5], strict=False)
    ]
    matrix = sum(
        confusion_matrix(
            pred.numpy().astype(np.int16),
            np.where(label == void, IGNORE_INDEX, label).astype(np.int16),
            void,
        )
        for pred, label in pairs
    )
    scores = confusion_scores(matrix)
    assert 0.3 < scores.miou < 0.95  # neither trivial nor nonsense
    known = {"num_classes": void, "ignore_index": void, "validate_args": False}
    made = torchmetrics.classification
    for name, metric in {
        "miou": made.MulticlassJaccardIndex(average="macro", **known),
        "fwiou": made.MulticlassJaccardIndex(average="weighted", **known),
        "mpa_recall": made.MulticlassAccuracy(average="macro", **known),
        "pixel_accuracy": made.MulticlassAccuracy(average="micro", **known),
    }.items():
        for pred, label in pairs:
            metric.update(pred, label)
        assert getattr(scores, name) == pytest.approx(metric.compute().item(), abs=1e-6), name


def test_set_scores_are_torchmetrics(tmp_path):
    """On random labels with an ignore value, against MulticlassJaccardIndex and accuracy."""
    torchmetrics = pytest.importorskip("torchmetrics")
    import torch

    rng = np.random.default_rng(0)
    label = rng.integers(0, 6, (3, 40, 30)).astype(np.int16)
    pred = np.where(rng.random(label.shape) < 0.7, label, rng.integers(0, 6, label.shape))
    label[rng.random(label.shape) < 0.2] = IGNORE_INDEX
    scores = confusion_scores(
        sum(confusion_matrix(p.astype(np.int16), t, 6) for p, t in zip(pred, label, strict=True))
    )
    made = torchmetrics.classification
    known = {"num_classes": 6, "ignore_index": IGNORE_INDEX, "validate_args": False}
    p, t = torch.from_numpy(pred.astype(np.int64)), torch.from_numpy(label.astype(np.int64))
    pairs = {
        "miou": made.MulticlassJaccardIndex(average="macro", **known),
        "fwiou": made.MulticlassJaccardIndex(average="weighted", **known),
        "mpa_recall": made.MulticlassAccuracy(average="macro", **known),
        "pixel_accuracy": made.MulticlassAccuracy(average="micro", **known),
    }
    for name, metric in pairs.items():
        for one, truth in zip(p, t, strict=True):
            metric.update(one, truth)
        assert getattr(scores, name) == pytest.approx(metric.compute().item(), abs=1e-6), name
