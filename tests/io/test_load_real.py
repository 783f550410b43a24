"""The real scans, against the figures of the data folder's README."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.case import Case, ImageFile, LabelPart
from medseg.io.load import load_image, load_label
from medseg.labels import Label, LabelScheme

pytestmark = pytest.mark.data

SCHEME = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=2, name="tumor")))


def ct_case(root: Path, name: str) -> Case:
    folder = root / "ct_abdomen"
    ircad = folder / "labels/ircad17"
    five = {"liver": (5,)}
    image, label = {
        "chaos_ct3": ("chaos_ct3", [LabelPart(path=folder / "labels/chaos_ct3")]),
        "ircad17": (
            "ircad17",
            [
                LabelPart(path=ircad / "liver", select={"liver": (255,)}),
                LabelPart(path=ircad / "livertumor1", select={"tumor": ()}),
                LabelPart(path=ircad / "livertumor2", select={"tumor": ()}),
            ],
        ),
        "ts_ct": (
            "ts_ct.nii.gz",
            [LabelPart(path=folder / "labels_fast/ts_ct.nii.gz", select=five)],
        ),
        "ts_ct_sm": (
            "ts_ct_sm.nii.gz",
            [LabelPart(path=folder / "labels/ts_ct_sm.nii.gz", select=five)],
        ),
        "ts_dicom20": (
            "ts_dicom20",
            [LabelPart(path=folder / "labels/ts_dicom20.nii.gz", select=five)],
        ),
    }[name]
    return Case(id=name, image=(ImageFile(path=folder / "images" / image),), label=tuple(label))


@pytest.mark.parametrize(
    ("name", "liver_ml", "mean_hu", "spacing", "stored"),
    [
        ("chaos_ct3", 1417.5, 141, (0.7266, 0.7266, 2.0), "LPS"),
        ("ircad17", 1860.6, 99, (0.743, 0.743, 1.6), "LPS"),
        ("ts_ct", 1125.7, 45, (3, 3, 3), "RAS"),
        ("ts_ct_sm", 1043.1, 45, (3, 3, 3), "RAS"),
        ("ts_dicom20", 699.4, None, (0.9766, 0.9766, 2.0), "LPS"),
    ],
)
def test_liver_volume_and_density(data_root, name, liver_ml, mean_hu, spacing, stored):
    case = ct_case(data_root, name)
    image = load_image(case)
    liver = load_label(case, SCHEME, image) > 0  # tumours lie inside the liver
    assert image.orientation == stored
    np.testing.assert_allclose(image.volume.spacing, spacing, atol=1e-3)
    volume_ml = liver.sum() * image.volume.grid.voxel_volume_ml
    assert volume_ml == pytest.approx(liver_ml, rel=1e-4)
    density = float(image.volume.data[0][liver].mean())
    print(f"{name}: {volume_ml:.1f} mL, {density:.1f} HU")
    if mean_hu is None:
        assert 0 < density < 150  # a liver, not lung, bone or air
    else:
        assert density == pytest.approx(mean_hu, abs=2)


def test_tumours_are_painted_into_the_liver(data_root):
    case = ct_case(data_root, "ircad17")
    image = load_image(case)
    tumor = load_label(case, SCHEME, image) == 2
    assert tumor.sum() * image.volume.grid.voxel_volume_ml == pytest.approx(85.6 + 78.6, rel=5e-3)


def test_hippocampus_label_stored_as_float(data_root):
    folder = data_root / "hippocampus"
    name = "hippocampus_003.nii.gz"
    case = Case(
        id="003",
        image=(ImageFile(path=folder / "imagesTr" / name),),
        label=(LabelPart(path=folder / "labelsTr" / name),),
    )
    label = load_label(case, SCHEME, load_image(case))
    stored = np.asarray(nib.load(folder / "labelsTr" / name).dataobj)
    assert stored.dtype.kind == "f"
    np.testing.assert_array_equal(label, stored)  # the set is stored in RAS


def test_mr_with_24_values_is_read_through_a_selection(data_root):
    folder = data_root / "mr_abdomen"
    case = Case(
        id="mr",
        image=(ImageFile(path=folder / "ts_mr_sm.nii.gz"),),
        label=(LabelPart(path=folder / "ts_mr_sm_seg.nii.gz", select={"liver": (5,)}),),
    )
    image = load_image(case)
    label = load_label(case, SCHEME, image)
    assert (image.orientation, image.stored.shape) == ("LPS", (117, 91, 20))
    stored = np.asarray(nib.load(folder / "ts_mr_sm_seg.nii.gz").dataobj)
    assert (label == 1).sum() == (stored == 5).sum() > 0
