import nibabel as nib
import numpy as np
import pytest

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import CaseError
from medseg.io.store import write_array
from medseg.reporting.assess import assess_case
from medseg.reporting.case_report import load_report
from tests.reporting.examples import SCHEME, SPACING, label_map

LPS = np.diag([-1.0, -1.0, 1.0])


def stored_case(folder, *, annotated=None):
    """Write a case in LPS axes, whose canonical label is ``label_map()``."""
    label = label_map()
    affine = np.eye(4)
    affine[:3, :3] = LPS @ np.diag(SPACING)
    values = SCHEME.to_values(label)[::-1, ::-1]
    image = np.random.default_rng(0).normal(40, 30, label.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), folder / "image.nii.gz")
    nib.save(nib.Nifti1Image(values.astype(np.uint8), affine), folder / "label.nii.gz")
    return Case(
        id="a",
        image=(ImageFile(path=folder / "image.nii.gz"),),
        label=(LabelPart(path=folder / "label.nii.gz"),),
        annotated=annotated,
    )


def assess(folder, case, pred, role="test"):
    store = write_array(folder / "pred.b2nd", pred)
    found = assess_case(
        out=folder,
        case=case,
        pred=store,
        scheme=SCHEME,
        modality="CT",
        role=role,
        fold=None,
        digest="x",
    )
    return load_report(found.report)


def test_files_are_scored_on_the_canonical_grid(tmp_path):
    made = assess(tmp_path, stored_case(tmp_path), label_map())
    assert [s.dice for s in made.scores] == [1.0, 1.0]
    assert made.spacing == pytest.approx(SPACING)
    assert (tmp_path / made.pictures[0].file).is_file()


def test_a_prediction_left_in_stored_axes_would_be_noticed(tmp_path):
    made = assess(tmp_path, stored_case(tmp_path), np.ascontiguousarray(label_map()[::-1, ::-1]))
    assert made.scores[1].dice == 0.0


def test_structures_without_annotation_have_a_size_and_no_score(tmp_path):
    made = assess(tmp_path, stored_case(tmp_path, annotated=("liver",)), label_map())
    assert [s.score is None for s in made.structures] == [False, True]
    assert made.structures[1].size.components == 1


def test_a_case_to_predict_is_not_scored(tmp_path):
    made = assess(tmp_path, stored_case(tmp_path), label_map(), role="predict")
    assert made.scores == ()


def test_a_prediction_of_another_shape_is_refused(tmp_path):
    with pytest.raises(CaseError, match=r"case a: the prediction has shape .*--from ingest"):
        assess(tmp_path, stored_case(tmp_path), label_map((16, 14, 11)))
