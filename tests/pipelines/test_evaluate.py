"""`medseg evaluate`: what pairs, what is refused, what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import ConfigError, StageError
from medseg.geometry.volume import Volume
from medseg.io.volumes import write_nifti
from medseg.pipelines.cli import main
from medseg.pipelines.evaluate import Evaluated, evaluate
from medseg.settings import Compute
from tests.reporting.examples import Page

ONE = Compute(workers=1)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
AFFINE[:3, 3] = (-20.0, 5.0, 7.0)


def blocks(shape: tuple[int, ...] = (10, 9, 8)) -> np.ndarray:
    """A label map with a block of 5 and a smaller one of 7."""
    label = np.zeros(shape, dtype=np.int16)
    label[(slice(2, 6),) * len(shape)] = 5
    label[(slice(6, 8),) * len(shape)] = 7
    return label


def nifti(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_nifti(path, Volume(data=data[None], affine=affine))


def png(path: Path, data: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astype(np.uint8)).save(path)
    return path


def run(tmp_path: Path, **more: object) -> Evaluated:
    return evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "o", compute=ONE, **more)


def table(tmp_path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (tmp_path / "o" / "metrics.csv").open() as stream:
        return {(row["case"], row["label"]): row for row in csv.DictReader(stream)}


def test_two_folders_give_metrics_summary_and_pages(tmp_path: Path) -> None:
    label = blocks()
    worse = label.copy()
    worse[2] = 0
    nifti(tmp_path / "r" / "a.nii.gz", label)
    nifti(tmp_path / "r" / "b.nii.gz", label)
    nifti(tmp_path / "p" / "a.nii.gz", label)
    nifti(tmp_path / "p" / "b.nii.gz", worse)
    done = run(tmp_path)
    assert done.set_aside == ()
    rows = table(tmp_path)
    assert set(rows) == {(c, s) for c in "ab" for s in ("label 5", "label 7")}
    assert float(rows["a", "label 5"]["dice"]) == 1
    assert float(rows["b", "label 5"]["dice"]) == pytest.approx(2 * 48 / (48 + 64))
    assert float(rows["b", "label 5"]["hd_mm"]) == 1.0  # one voxel along the first axis
    assert float(rows["b", "label 5"]["volume_error_ml"]) == pytest.approx(-16 * 6 / 1000)
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    found = summary["splits"]["test"]["labels"]["label 5"]
    assert found["metrics"]["dice"]["mean"] == pytest.approx((1 + 96 / 112) / 2)
    assert found["counts"] == {"ok": 2, "both_empty": 0, "missed": 0, "false_alarm": 0}
    assert found["pooled_dice"] == pytest.approx(2 * (64 + 48) / (128 + 112))
    index = Page((tmp_path / "o" / "index.html").read_text())
    assert "2 pairs of masks compared" in index.words
    assert "p against r" in index.words
    assert "Model" not in index.words
    assert "Post-processing" not in index.words
    case = Page((tmp_path / "o" / "cases" / "b.html").read_text())
    assert "no image was given" in case.words
    assert len(case.of("img")) == 9  # three planes, three where the masks differ, three surfaces
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "p", "r"]  # nothing left aside


def test_a_label_file_names_what_counts_and_its_tolerance(tmp_path: Path) -> None:
    label = blocks()
    nifti(tmp_path / "r" / "a.nii.gz", label)
    nifti(tmp_path / "p" / "a.nii.gz", np.roll(label, 1, axis=2))  # 3 mm off
    labels = tmp_path / "labels.yaml"
    labels.write_text(
        "liver: {value: 5, nsd_tolerance_mm: 3}\ntumour: {value: 7, nsd_tolerance_mm: 1}\n"
    )
    run(tmp_path, labels=labels)
    rows = table(tmp_path)
    assert set(rows) == {("a", "liver"), ("a", "tumour")}
    assert (float(rows["a", "liver"]["nsd"]), rows["a", "liver"]["nsd_tolerance_mm"]) == (1, "3")
    assert float(rows["a", "tumour"]["nsd"]) < 1
    labels.write_text('{"labels": {"background": 0, "liver": 5}}')  # JSON, nested
    run(tmp_path, labels=labels)
    assert set(table(tmp_path)) == {("a", "liver")}
    notes = json.loads((tmp_path / "o" / "cases" / "a.json").read_text())["notes"]
    assert notes == [
        f"Values of the {what} that the label table lacks count as background: 7."
        for what in ("prediction", "reference")
    ]


def test_regions_and_an_ignore_value_of_a_label_file(tmp_path: Path) -> None:
    label = blocks()
    label[0] = 9
    pred = label.copy()
    pred[0], pred[9] = 5, 9  # on ignored voxels; the ignore value itself predicted elsewhere
    nifti(tmp_path / "r" / "a.nii.gz", label)
    nifti(tmp_path / "p" / "a.nii.gz", pred)
    labels = tmp_path / "labels.yaml"
    labels.write_text(
        "labels: {liver: 5, tumour: 7}\nregions: {whole: [liver, tumour]}\nignore_value: 9\n"
    )
    run(tmp_path, labels=labels)
    assert list(table(tmp_path)) == [("a", "whole")]
    assert float(table(tmp_path)["a", "whole"]["dice"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("liver: five\n", "labels.yaml:1:1: labels.0.value: should be a valid integer"),
        ("liver: 5\ntumour: 5\n", "is also the value of 'liver'"),
        ("labels: {liver: 5}\nignore: 9\n", "did you mean 'ignore_value'"),
        ("liver: {value: 5, nsd_tolerance: 1}\n", "did you mean 'nsd_tolerance_mm'"),
        ("{}\n", "is missing"),
    ],
)
def test_mistakes_in_a_label_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    nifti(tmp_path / "r" / "a.nii.gz", blocks())
    labels = tmp_path / "labels.yaml"
    labels.write_text(text)
    with pytest.raises(ConfigError, match=message):
        evaluate(tmp_path / "r", tmp_path / "r", tmp_path / "o", labels=labels, compute=ONE)
    assert not (tmp_path / "o").exists()


def test_other_axis_order_and_format_are_the_same_voxels(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    label = blocks()
    nifti(tmp_path / "r" / "a.nii.gz", label)
    nifti(tmp_path / "r" / "b.nii.gz", label)
    turned = AFFINE[:, [2, 0, 1, 3]].copy()  # axes (K, I, J), the first one reversed
    turned[:, 3] += turned[:, 0] * 7
    turned[:, 0] *= -1
    nifti(tmp_path / "p" / "a.nii.gz", label.transpose(2, 0, 1)[::-1], turned)
    image = sitk.GetImageFromArray(label.transpose(2, 1, 0))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((20.0, -5.0, 7.0))  # LPS
    image.SetDirection((-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "p" / "b.nrrd"))
    assert run(tmp_path).set_aside == ()
    assert [float(row["dice"]) for row in table(tmp_path).values()] == [1.0] * 4


def test_shifted_grids_are_set_aside_however_equal_the_arrays(tmp_path: Path) -> None:
    label = blocks()
    moved, coarse = AFFINE.copy(), AFFINE * [[1], [1], [1.5], [1]]
    moved[0, 3] += 0.5
    for name, affine in (("good", AFFINE), ("moved", moved), ("coarse", coarse)):
        nifti(tmp_path / "r" / f"{name}.nii.gz", label)
        nifti(tmp_path / "p" / f"{name}.nii.gz", label, affine)
    nifti(tmp_path / "r" / "cut.nii.gz", label)
    nifti(tmp_path / "p" / "cut.nii.gz", label[:-1])
    done = run(tmp_path)
    assert {case for case, _ in table(tmp_path)} == {"good"}
    reasons = {row.case: row.reason for row in done.set_aside}
    assert set(reasons) == {"moved", "coarse", "cut"}
    assert "does not lie on the voxels" in reasons["moved"]
    assert "(9, 9, 8) is not (10, 9, 8)" in reasons["cut"]
    page = (tmp_path / "o" / "index.html").read_text()
    assert "3 set aside" in page
    assert str(tmp_path) not in page  # paths may name patients


def test_missing_and_extra_masks_are_listed_and_exit_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "only_reference"):
        nifti(tmp_path / "r" / f"{name}.nii.gz", blocks())
    for name in ("a", "only_prediction", "twin"):
        nifti(tmp_path / "p" / f"{name}.nii.gz", blocks())
    nifti(tmp_path / "p" / "twin.nii", blocks())
    words = ["evaluate", str(tmp_path / "p"), str(tmp_path / "r"), "-o", str(tmp_path / "o")]
    assert main([*words, "--workers", "1"]) == 3
    shown = capsys.readouterr()
    assert "case only_reference: a reference without prediction" in shown.err
    assert "case only_prediction: a prediction without reference" in shown.err
    assert "case twin: 2 predictions have this name (twin.nii, twin.nii.gz)" in shown.err
    assert "label 5    1  1.0000" in shown.out
    page = Page((tmp_path / "o" / "index.html").read_text())
    for name in ("only_reference", "only_prediction", "twin"):
        assert name in page.words


def test_nothing_that_pairs_is_exit_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nifti(tmp_path / "r" / "a.nii.gz", blocks())
    nifti(tmp_path / "p" / "b.nii.gz", blocks())
    words = ["evaluate", str(tmp_path / "p"), str(tmp_path / "r"), "-o", str(tmp_path / "o")]
    assert main(words) == 2
    assert "a prediction and its reference have the same name" in capsys.readouterr().err
    assert main([*words[:2], str(tmp_path / "none"), *words[3:]]) == 2
    (tmp_path / "empty").mkdir()
    assert main([*words[:2], str(tmp_path / "empty"), *words[3:]]) == 2
    assert "holds no mask" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_no_pair_that_can_be_compared_is_exit_1(tmp_path: Path) -> None:
    nifti(tmp_path / "r" / "a.nii.gz", blocks())
    nifti(tmp_path / "p" / "a.nii.gz", blocks()[:-1])
    with pytest.raises(StageError, match="all 1 cases failed"):
        run(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "r"]


def test_photographs_count_in_px_and_give_a_confusion_matrix(tmp_path: Path) -> None:
    label = blocks((20, 16))
    pred = label.copy()
    pred[2] = 0
    png(tmp_path / "r" / "x.png", label)
    png(tmp_path / "p" / "x.png", pred)
    run(tmp_path)
    row = table(tmp_path)["x", "label 5"]
    assert float(row["hd95_px"]) == 1.0
    assert "hd95_mm" not in row
    with (tmp_path / "o" / "confusion.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["truth", "background", "label 5", "label 7"]
    assert rows[2] == ["label 5", "4", "12", "0"]
    pixels = json.loads((tmp_path / "o" / "summary.json").read_text())["pixels"]
    assert pixels["pixel_accuracy"] == pytest.approx(316 / 320)
    assert pixels["classes"]["label 5"]["recall"] == pytest.approx(12 / 16)
    assert pixels["miou"] == pytest.approx((300 / 304 + 12 / 16 + 1) / 3)


def test_one_value_on_each_side_is_one_structure_whatever_the_values(tmp_path: Path) -> None:
    mask = blocks((20, 16)) > 0
    png(tmp_path / "r" / "x.png", mask * 255)
    png(tmp_path / "p" / "x.png", mask * 1)
    png(tmp_path / "r" / "y.png", mask * 255)
    png(tmp_path / "p" / "y.png", mask * 0)
    run(tmp_path)
    rows = table(tmp_path)
    assert set(rows) == {("x", "foreground"), ("y", "foreground")}
    assert float(rows["x", "foreground"]["dice"]) == 1
    assert rows["y", "foreground"]["status"] == "missed"
    assert rows["y", "foreground"]["hd95_px"] == "inf"


def test_masks_in_sub_folders_pair_by_place_then_name_then_folder(tmp_path: Path) -> None:
    shape = (12, 12)
    for place in ("one/mask.png", "two/mask.png", "c.png", "four/seg.png"):
        png(tmp_path / "r" / place, blocks(shape))
    for place in ("one/mask.png", "two.png", "deep/er/c.png", "four/pred.png"):
        png(tmp_path / "p" / place, blocks(shape))
    png(tmp_path / "p" / ".hidden.png", blocks(shape))
    done = run(tmp_path)
    assert done.set_aside == ()
    assert {case for case, _ in table(tmp_path)} == {"one_mask", "two", "c", "four"}


def test_two_files_are_one_case(tmp_path: Path) -> None:
    a = nifti(tmp_path / "p" / "x.nii.gz", blocks())
    b = nifti(tmp_path / "r" / "y.nii.gz", blocks())
    evaluate(a, b, tmp_path / "o", compute=ONE)
    assert {case for case, _ in table(tmp_path)} == {"y"}


def test_images_are_not_taken_for_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nifti(tmp_path / "r" / "a.nii.gz", blocks())
    nifti(tmp_path / "p" / "a.nii.gz", rng.integers(0, 2000, (10, 9, 8)).astype(np.int16))
    with pytest.raises(StageError, match="looks like an image"):
        run(tmp_path)
    png(tmp_path / "r" / "b.png", blocks((9, 9)))
    png(tmp_path / "p" / "b.png", blocks((9, 9)))
    with pytest.raises(ConfigError, match="evaluate images and volumes apart"):
        run(tmp_path)


def test_empty_masks_alone_are_nothing_to_compare(tmp_path: Path) -> None:
    for side in "pr":
        nifti(tmp_path / side / "a.nii.gz", blocks() * 0)
    with pytest.raises(ConfigError, match="nothing to compare"):
        run(tmp_path)


def test_only_an_earlier_evaluation_is_replaced(tmp_path: Path) -> None:
    for side in "pr":
        nifti(tmp_path / side / "a.nii.gz", blocks())
    run(tmp_path)
    run(tmp_path)  # in place of the first
    (tmp_path / "o" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.tex\)"):
        run(tmp_path)
    for out in (tmp_path / "r", tmp_path):
        with pytest.raises(ConfigError, match="choose another folder"):
            evaluate(tmp_path / "p", tmp_path / "r", out, compute=ONE)
    assert (tmp_path / "o" / "thesis.tex").read_text() == "mine"


def test_workers_give_the_same_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        for side in "pr":
            nifti(tmp_path / side / f"{name}.nii.gz", rng.integers(0, 3, (6, 7, 5), np.int16))
    run(tmp_path)
    alone = (tmp_path / "o" / "metrics.csv").read_text()
    evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "o", compute=Compute(workers=2))
    assert (tmp_path / "o" / "metrics.csv").read_text() == alone


@pytest.mark.data
def test_the_fast_mode_liver_of_the_real_scan(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "ct_abdomen"
    labels = tmp_path / "labels.yaml"
    labels.write_text("liver: 5\n")
    done = evaluate(
        folder / "labels_fast" / "ts_ct_sm.nii.gz",
        folder / "labels" / "ts_ct_sm.nii.gz",
        tmp_path / "o",
        labels=labels,
        compute=ONE,
    )
    assert done.summaries[0].metrics["dice"].mean == pytest.approx(0.981, abs=5e-4)
    assert done.set_aside == ()
