"""`medseg evaluate` with a DICOM SEG or RTSTRUCT on one side."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from medseg.errors import StageError
from medseg.geometry.volume import Volume
from medseg.io.volumes import read_volume, write_nifti
from medseg.phantom.dicom_files import write_dicom_series
from medseg.pipelines.evaluate import evaluate
from medseg.settings import Compute
from tests.dicom_out.series import oblique_affine
from tests.io.dicom_objects import slices_of, write_seg


@pytest.fixture
def sides(tmp_path):
    """A SEG of two boxes as reference, and a NIfTI that lacks a column of the first one."""
    data = np.zeros((1, 9, 8, 6), np.int16)
    write_dicom_series(tmp_path / "ct", Volume(data=data, affine=oblique_affine()), patient="A")
    label = np.zeros((9, 8, 6), np.int16)
    label[1:5, 1:4, 1:4], label[6:8, 5:7, 2:5] = 1, 2
    frames = [(n, k, n == label[:, :, k].T) for n in (1, 2) for k in range(6)]
    named = [(1, "Liver", "10200004"), (2, "Spleen", "78961009")]
    write_seg(tmp_path / "r/a.dcm", slices_of(tmp_path / "ct"), frames, named)
    pred = label.copy()
    pred[1] = 0
    affine = read_volume(tmp_path / "ct").affine
    (tmp_path / "p").mkdir()
    flipped = Volume(data=pred[np.newaxis, ::-1], affine=affine @ flip_first(len(pred)))
    write_nifti(tmp_path / "p/a.nii.gz", flipped)
    return tmp_path


def flip_first(count):
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = count - 1
    return turn


def dice(out):
    with (out / "metrics.csv").open() as stream:
        return {row["label"]: float(row["dice"]) for row in csv.DictReader(stream)}


EXPECTED = 2 * 27 / (36 + 27)


def test_segments_are_labels_of_the_table_by_name(sides):
    table = sides / "labels.yaml"
    table.write_text("{liver: 1, spleen: 2}")
    compute = Compute(workers=1)
    evaluate(sides / "p", sides / "r", sides / "o", labels=table, compute=compute)
    assert dice(sides / "o") == pytest.approx({"liver": EXPECTED, "spleen": 1.0})
    evaluate(sides / "r", sides / "p", sides / "o", labels=table, compute=compute)  # SEG predicted
    assert dice(sides / "o") == pytest.approx({"liver": EXPECTED, "spleen": 1.0})


def test_without_a_table_the_numbers_of_the_segments_count(sides):
    evaluate(sides / "p", sides / "r", sides / "o", compute=Compute(workers=1))
    assert dice(sides / "o") == pytest.approx({"label 1": EXPECTED, "label 2": 1.0})


def test_seg_of_no_known_name_and_two_segs_are_refused(sides):
    table = sides / "labels.yaml"
    table.write_text("{livre: 1}")
    compute = Compute(workers=1)
    with pytest.raises(StageError, match=r"no segment is called or coded.*'Liver'"):
        evaluate(sides / "p", sides / "r", sides / "o", labels=table, compute=compute)
    with pytest.raises(StageError, match="are both DICOM objects"):
        evaluate(sides / "r", sides / "r", sides / "o", compute=compute)
    assert not (sides / "o").exists()
