import csv
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from medseg.artefacts import (
    DataInfo,
    Dataset,
    Decision,
    Fingerprint,
    IngestedCase,
    NetworkSpec,
    Plan,
    SetAside,
)
from medseg.case import Case, ImageFile, LabelPart
from medseg.finished import PostprocessRule, Segmentations, SegmentedCase
from medseg.geometry.volume import Grid
from medseg.io.store import write_array
from medseg.labels import Label, LabelScheme
from medseg.stages.report import Report
from medseg.trained import TrainedFold, TrainedModel
from tests.fakes import LocalContext
from tests.reporting.examples import check_page

SCHEME = LabelScheme(labels=(Label(value=3, name="liver"), Label(value=5, name="tumour")))
AFFINE = np.diag([1.0, 1.5, 3.0, 1.0])
SHAPE = (14, 12, 10)


def label_map():
    label = np.zeros(SHAPE, dtype=np.int16)
    label[3:10, 3:9, 3:7] = 1
    label[5:7, 5:7, 4:6] = 2
    return label


def ingested(folder, name, split, fold=None, warnings=(), labelled=True):
    folder.mkdir(exist_ok=True)
    image = np.random.default_rng(0).normal(40, 30, SHAPE).astype(np.float32)
    values = SCHEME.to_values(label_map()).astype(np.uint8)
    nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{name}_JaneDoe.nii.gz")
    nib.save(nib.Nifti1Image(values, AFFINE), folder / f"{name}_label.nii.gz")
    case = Case(
        id=name,
        image=(ImageFile(path=folder / f"{name}_JaneDoe.nii.gz"),),
        label=(LabelPart(path=folder / f"{name}_label.nii.gz"),) if labelled else (),
        group="Doe^Jane",
    )
    return IngestedCase(
        case=case,
        split=split,
        fold=fold,
        grid=Grid.of(SHAPE, AFFINE),
        orientation="RAS",
        content_start=(0, 0, 0),
        content_stop=SHAPE,
        label_voxels={},
        digest=name,
        warnings=tuple(warnings),
    )


INFO = DataInfo(
    name="made_up",
    title="Made up",
    modality="CT",
    channels=("image",),
    origin="SYNTHETIC",
    licence="CC0",
    citation="",
    digest="0123456789abcdef",
)
NETWORK = NetworkSpec(name="unet", arguments={})
PLAN = Plan(
    spacing=(1.0, 1.5, 3.0),
    normalization=(),
    coarse_axis=None,
    patch_size=(8, 8, 8),
    batch_size=2,
    slice_axis=None,
    mirror_axes=(),
    network=NETWORK,
    budget="10it",
    scheme=SCHEME,
    info=INFO,
    decisions=(Decision(key="train.lr", value=0.002, rule="adamw", data="none"),),
)


def inputs(tmp_path, roles, preds):
    """Build what the stage reads: ``roles`` maps a case to its split and fold."""
    return {
        "dataset": dataset_of(tmp_path / "data", roles),
        "plan": PLAN,
        "segmentations": segmentations_of(tmp_path, roles, preds),
        "model": model_of(tmp_path, {0, *(f for _, f in roles.values() if f is not None)}),
    }


def dataset_of(folder, roles):
    cases = tuple(
        ingested(
            folder,
            name,
            split,
            fold,
            warnings=["/data/Jane Doe/ct.nii.gz: oblique"] if name == "a" else [],
            labelled=split != "predict",
        )
        for name, (split, fold) in roles.items()
    )
    fingerprint = Fingerprint(spacings=(), shapes=(), crop_ratio=1.0, intensities=())
    return Dataset(info=INFO, scheme=SCHEME, cases=cases, fingerprint=fingerprint)


def model_of(folder, folds):
    history = folder / "history.csv"
    history.write_text("step,train/loss,val/dice/liver\n1,2.0,0.1\n2,1.0,0.5\n")
    return TrainedModel(
        network=NETWORK,
        folds=tuple(
            TrainedFold(
                fold=fold,
                weights=folder / "weights.safetensors",
                cases=(),
                steps=20,
                best_step=10,
                validation_dice={},
                history=history,
                seconds=1.0,
            )
            for fold in sorted(folds)
        ),
    )


def segmentations_of(folder, roles, preds):
    cases = tuple(
        SegmentedCase(
            id=name,
            split=split,
            fold=fold,
            file=folder / f"{name}.nii.gz",
            pred=write_array(folder / f"{name.replace('/', '-')}.b2nd", preds[name]),
        )
        for name, (split, fold) in roles.items()
    )
    rules = (PostprocessRule(structure="liver", keep_largest=True),)
    return Segmentations(cases=cases, rules=rules, model=folder / "model")


def run(tmp_path, roles, preds, *, identifiers="drop"):
    context = LocalContext(tmp_path)
    context.earlier_set_aside = (
        SetAside(case="bad", stage="ingest", reason="/data/Jane Doe/bad.nii.gz: cut; copy it"),
    )
    files = Report(identifiers=identifiers).run(**inputs(tmp_path, roles, preds), context=context)
    return files, context


ROLES = {"a": ("test", None), "b": ("test", None), "c": ("train", 0), "d": ("predict", None)}


@pytest.fixture
def preds():
    missed = np.where(label_map() == 2, 1, label_map()).astype(np.int16)
    return {"a": label_map(), "b": missed, "c": label_map(), "d": label_map()}


def test_the_report_of_all_kinds_of_cases(tmp_path, preds):
    files, context = run(tmp_path, ROLES, preds)
    assert files.folder == context.workdir / "report"
    pages = {
        p.name: check_page(p.read_text(encoding="utf-8")) for p in files.folder.rglob("*.html")
    }
    assert set(pages) == {"index.html", "a.html", "b.html", "c.html", "d.html"}
    assert all("SYNTHETIC" in page.title for page in pages.values())
    assert "nothing here says how good" in pages["d.html"].words
    assert "validation case of fold 0" in pages["c.html"].words
    assert "tumour was missed" in pages["b.html"].words
    assert "copy it" in pages["index.html"].words
    with files.metrics.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["case"], r["split"]) for r in rows[::2]] == [
        ("a", "test"),
        ("b", "test"),
        ("c", "validation"),
    ]
    summary = json.loads(files.summary.read_text())
    assert summary["splits"]["test"]["labels"]["tumour"]["counts"]["missed"] == 1


def test_the_headline_is_returned(tmp_path, preds):
    files, context = run(tmp_path, {"a": ROLES["a"], "b": ROLES["b"]}, preds)
    assert context.metrics == []  # the runner logs it, also when the stage was done before
    assert files.headline["test/dice/tumour"] == 0.5  # one patient with two scans: 1 and 0
    assert files.headline["test/dice/mean"] == pytest.approx(
        (files.headline["test/dice/liver"] + 0.5) / 2
    )


def test_without_test_case_the_validation_cases_are_the_headline(tmp_path, preds):
    files, _ = run(tmp_path, {"c": ("train", 0)}, preds)
    assert files.headline["val/dice/mean"] == 1.0
    assert "There is no test case" in (files.folder / "index.html").read_text()


def test_each_fold_has_its_row_and_the_test_rows_are_of_no_fold(tmp_path, preds):
    """Fold 0 finds the tumour of its case, fold 1 does not: tumour 1 and 0, together one half."""
    roles = {"a": ("test", None), "c": ("train", 0), "b": ("train", 1)}
    files, _ = run(tmp_path, roles, preds)
    liver = 2 * 168 / (2 * 168 + 8)  # of 168 voxels; the 8 of the tumour were added to it
    with files.metrics.open(newline="") as stream:
        rows = {(r["case"], r["label"]): r["fold"] for r in csv.DictReader(stream)}
    assert {case: rows[case, "tumour"] for case in "acb"} == {"a": "", "c": "0", "b": "1"}
    summary = json.loads(files.summary.read_text())
    first, second = summary["folds"]
    assert first == {
        "fold": 0, "cases": 1, "dice": {"liver": 1.0, "tumour": 1.0}, "mean_dice": 1.0
    }  # fmt: skip
    assert second["dice"] == {"liver": pytest.approx(liver, abs=0.05), "tumour": 0.0}
    assert summary["splits"]["test"]["labels"]["tumour"]["metrics"]["dice"]["mean"] == 1.0
    page = check_page((files.folder / "index.html").read_text(encoding="utf-8"))
    assert "Mean Dice of each fold's network" in page.words
    assert "mean of the folds 0, 1" in page.words
    assert sum("Fold 1: training loss" in (a["alt"] or "") for a in page.of("img")) == 1


def test_of_one_fold_there_is_no_table_of_folds(tmp_path, preds):
    files, _ = run(tmp_path, ROLES, preds)
    assert "folds" not in json.loads(files.summary.read_text())
    assert "Mean Dice of each fold" not in (files.folder / "index.html").read_text()


def test_no_identifier_reaches_the_report(tmp_path, preds):
    files, _ = run(tmp_path, {"a": ROLES["a"], "d": ROLES["d"]}, preds)
    for file in files.folder.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert "Jane" not in text, file
            assert str(tmp_path) not in text, file


def test_identifiers_are_kept_where_asked(tmp_path, preds):
    files, _ = run(tmp_path, {"a": ROLES["a"]}, preds, identifiers="keep")
    page = (files.folder / "cases" / "a.html").read_text(encoding="utf-8")
    assert "a_JaneDoe.nii.gz" in page
    assert "Doe^Jane" in page
    assert str(tmp_path) not in page


def test_a_case_that_cannot_be_assessed_is_set_aside_and_listed(tmp_path, preds):
    preds["b"] = np.zeros((3, 3, 3), dtype=np.int16)
    files, context = run(tmp_path, {"a": ROLES["a"], "b": ROLES["b"]}, preds)
    assert [row.case for row in context.listed] == ["b"]
    index = check_page((files.folder / "index.html").read_text(encoding="utf-8"))
    assert "the prediction has shape (3, 3, 3)" in index.words
    assert not (files.folder / "cases" / "b.html").exists()


def test_importing_the_stage_loads_no_heavy_library():
    code = (
        "import sys, medseg.stages.report\n"
        "print([m for m in ('torch', 'monai', 'mlflow', 'matplotlib', 'scipy', 'jinja2')"
        " if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
