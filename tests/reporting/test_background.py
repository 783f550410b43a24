from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ConfigError
from medseg.io.store import write_array
from medseg.reporting.background import (
    Background,
    SizePair,
    case_sizes,
    make_background,
    read_background,
    write_background,
)
from medseg.reporting.scan_checks import TrainingScans
from tests.reporting.examples import SCHEME

SCANS = TrainingScans(
    orientations=("LPS",), spacing_low=(1, 1, 2), spacing_high=(1, 1, 5), tilt_degrees=0.0,
    intensity=None,
)  # fmt: skip


def pair(volume, reference, pieces=1, structure="liver"):
    return SizePair(
        structure=structure, volume_ml=volume, reference_ml=reference, reference_components=pieces
    )


def test_errors_are_logarithms_averaged_over_the_scans_of_a_patient():
    sizes = {"a": [pair(2, 1)], "b": [pair(1, 1)], "c": [pair(1, 2)]}
    found = make_background(sizes, {"a": "p", "b": "p", "c": "q"}, SCANS)
    assert found.volume_errors["liver"] == pytest.approx((-math.log(2), math.log(2) / 2))
    assert found.training == SCANS


def test_what_is_missed_or_invented_has_no_error_and_absence_no_pieces():
    sizes = {"a": [pair(0, 1, 3)], "b": [pair(1, 0, 0)], "c": [pair(1, 1, 2)]}
    found = make_background(sizes, {}, None)
    assert found.volume_errors == {"liver": (0.0,)}
    assert found.usual == {"liver": 3}, "of 3 and 2 pieces"


def test_no_case_knows_nothing():
    assert make_background({}, {}, None) == Background()


def test_it_is_read_as_it_was_written(tmp_path):
    written = make_background({"a": [pair(2, 1)]}, {}, SCANS)
    write_background(tmp_path, written)
    assert read_background(tmp_path) == written


def test_a_folder_without_it_knows_nothing_and_a_damaged_file_is_refused(tmp_path):
    assert read_background(tmp_path) == Background()
    (tmp_path / "cohort.json").write_text("{")
    with pytest.raises(ConfigError, match=r"cohort\.json: not readable"):
        read_background(tmp_path)


def test_sizes_of_a_case_on_disk(tmp_path):
    label = np.zeros((8, 8, 8), np.uint8)
    label[1:3, 1:3, 1:3] = 7  # liver, 8 voxels of 2 mm^3
    label[5:7, 5:7, 5:7] = 7  # and 8 more, apart from them
    label[0, 0, 7] = 9  # tumour
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for name in ("image", "label"):
        nib.save(nib.Nifti1Image(label, affine), tmp_path / f"{name}.nii")
    pred = np.zeros((8, 8, 8), np.int16)
    pred[1:3, 1:3, 1:4] = 1
    case = Case(
        id="a",
        image=(ImageFile(path=tmp_path / "image.nii"),),
        label=(LabelPart(path=tmp_path / "label.nii"),),
        annotated=("liver",),
    )
    (found,) = case_sizes(
        out=tmp_path,
        pred=write_array(tmp_path / "pred.b2nd", pred),
        case=case,
        digest="",
        scheme=SCHEME,
    )
    assert found.structure == "liver", "tumour is not covered by the annotation"
    assert found.volume_ml == pytest.approx(12 * 0.002)
    assert found.reference_ml == pytest.approx(16 * 0.002)
    assert found.reference_components == 2
