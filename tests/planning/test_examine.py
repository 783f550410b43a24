from __future__ import annotations

import gzip

import numpy as np
import pytest

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import CaseError
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme
from medseg.planning.examine import check_grid, examine_case
from medseg.planning.sources import source_files
from tests.planning.tiny import SCHEME, make_case, write


def examine(tmp_path, *, channels=("image",), scheme=SCHEME, annotated=None, label=True):
    case = Case(
        id="c",
        image=(ImageFile(path=tmp_path / "i.nii.gz"),),
        label=(LabelPart(path=tmp_path / "l.nii.gz"),) if label else (),
        annotated=annotated,
    )
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return examine_case(case, scheme, channels, source_files([case])["c"], out=out)


@pytest.fixture
def files(tmp_path):
    image, label = make_case(0)
    write(tmp_path / "i.nii.gz", image)
    write(tmp_path / "l.nii.gz", label)
    return tmp_path


def test_a_sound_case(files):
    image, label = make_case(0)
    row = examine(files)
    assert row.grid.shape == (10, 12, 8)
    assert row.grid.spacing == (1.0, 1.0, 2.0)
    assert row.orientation == "RAS"
    assert row.label_voxels == {"organ": 64 - 8, "tumour": 8}
    assert row.warnings == ()
    values = image[label > 0]
    assert row.sample_ranges == ((pytest.approx(values.min()), pytest.approx(values.max())),)
    samples = np.load(row.samples)
    assert samples.shape == (1, 10_000)
    assert samples.mean() == pytest.approx(values.mean(), rel=1e-3)


def test_the_content_box_and_the_stored_axes(files):
    image, label = make_case(0)
    image[:2], image[..., 6:] = 0, 0
    write(files / "i.nii.gz", image, spacing=(-1.0, 1.0, 2.0))  # LAS: first axis is turned
    write(files / "l.nii.gz", label, spacing=(-1.0, 1.0, 2.0))
    row = examine(files)
    assert row.orientation == "LAS"
    assert (row.content_start, row.content_stop) == ((0, 0, 0), (8, 12, 6))


def test_without_annotation(files):
    row = examine(files, label=False)
    assert row.label_voxels == {}
    assert row.samples is None
    assert "-" not in row.digest


def test_digests_see_voxels_place_and_annotation(files):
    first = examine(files)
    image, label = make_case(0)
    write(files / "i.nii.gz", image, spacing=(1.0, 1.0, 3.0))
    write(files / "l.nii.gz", label, spacing=(1.0, 1.0, 3.0))
    moved = examine(files)
    assert moved.digest != first.digest
    assert moved.image_digest == first.image_digest  # the same scan under another header
    label[0, 0, 0] = 1
    write(files / "l.nii.gz", label, spacing=(1.0, 1.0, 3.0))
    assert examine(files).digest != moved.digest


def test_a_partial_annotation_counts_its_labels_alone(files):
    assert examine(files, annotated=("tumour",)).label_voxels == {"tumour": 8}


def test_no_foreground_is_a_warning(files):
    write(files / "l.nii.gz", np.zeros((10, 12, 8), dtype=np.uint8))
    row = examine(files)
    assert "no foreground" in row.warnings[0]
    assert row.label_voxels == {"organ": 0, "tumour": 0}


def test_a_label_outside_the_content_is_a_warning(files):
    image, label = make_case(0)
    image[:3] = 0
    write(files / "i.nii.gz", image)
    assert f"{(label[:3] > 0).sum()} annotated voxels" in examine(files).warnings[0]


def test_an_unusual_spacing_is_a_warning(files):
    image, label = make_case(0)
    for name, array in (("i", image), ("l", label)):
        write(files / f"{name}.nii.gz", array, spacing=(0.001, 0.001, 0.002))
    assert "millimetres" in examine(files).warnings[0]


def break_nan(folder):
    image, _ = make_case(0)
    image[4, 5, 3] = np.nan
    image[5, 5, 3] = np.inf
    write(folder / "i.nii.gz", image)


def break_zero(folder):
    write(folder / "i.nii.gz", np.zeros((10, 12, 8), dtype=np.float32))


def break_gzip(folder):
    whole = (folder / "i.nii.gz").read_bytes()
    (folder / "i.nii.gz").write_bytes(whole[: len(whole) // 2])


def break_shape(folder):
    write(folder / "l.nii.gz", np.zeros((10, 12, 9), dtype=np.uint8))


def break_place(folder):
    write(folder / "l.nii.gz", make_case(0)[1], spacing=(1.0, 1.0, 2.5))


def break_values(folder):
    label = make_case(0)[1]
    label[0, 0, :2] = 7
    write(folder / "l.nii.gz", label)


def break_affine(folder):
    for name, array in zip("il", make_case(0), strict=True):
        raw = array.astype(np.float32 if name == "i" else np.uint8)
        write(folder / f"{name}.nii.gz", raw)
        path = folder / f"{name}.nii.gz"
        data = bytearray(gzip.decompress(path.read_bytes()))
        data[252:256] = (0).to_bytes(2, "little") + (1).to_bytes(2, "little")  # sform alone
        data[280:328] = np.zeros(12, dtype="<f4").tobytes()
        path.write_bytes(gzip.compress(bytes(data)))


def break_away(folder):
    (folder / "l.nii.gz").unlink()


@pytest.mark.parametrize(
    ("damage", "what", "mend"),
    [
        (
            break_nan,
            r"2 voxels that are NaN or infinite, the first at \(4\.0, 5\.0, 6\.0\) mm",
            "replace",
        ),
        (break_zero, "every voxel is 0", "export the image again"),
        (break_gzip, "i.nii.gz", "copy it from its source"),
        (break_shape, r"\(10, 12, 9\)", "exclude"),
        (break_place, "l.nii.gz", "exclude"),
        (break_values, "value 7 is not", "labels"),
        (break_affine, "singular", "header"),
        (break_away, "does not exist", "exclude"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(files, damage, what, mend):
    damage(files)
    with pytest.raises(CaseError, match=what) as caught:
        examine(files)
    assert str(caught.value).startswith("case c: ")
    assert mend in caught.value.mend


@pytest.mark.parametrize("scale", [0.0, np.nan])
def test_an_affine_without_volume_is_refused(scale):
    grid = Grid.of((4, 4, 4), np.diag([1.0, 1.0, scale, 1.0]))
    case = Case(id="c", image=(ImageFile(path="i.mha"),))
    with pytest.raises(CaseError, match="no volume"):
        check_grid(case, grid)


def test_another_number_of_channels(files):
    with pytest.raises(CaseError, match=r"1 channel\(s\), the manifest lists 2 \(T1, T2\)"):
        examine(files, channels=("T1", "T2"))


def test_one_flat_channel_of_two_is_a_warning(files):
    image, _ = make_case(0)
    write(files / "i.nii.gz", np.stack([image, np.zeros_like(image)], axis=-1), (1.0, 1.0, 2.0))
    row = examine(files, channels=("T1", "T2"))
    assert row.warnings == ("channel 'T2' has one value everywhere",)


def test_ignored_voxels_are_no_foreground(files):
    label = make_case(0)[1]
    label[label == 5] = 255
    write(files / "l.nii.gz", label)
    row = examine(files, scheme=LabelScheme(labels=SCHEME.labels, ignore_value=255))
    assert row.label_voxels == {"organ": 56, "tumour": 0}
