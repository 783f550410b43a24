from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import CaseError
from medseg.geometry.orientation import axis_codes, reorient_to
from medseg.geometry.volume import Volume
from medseg.io.load import load_image, load_label
from medseg.io.volumes import write_nifti
from medseg.labels import IGNORE_INDEX, Label, LabelScheme
from tests.io.dicom_series import write_series

LIVER = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=2, name="tumor")))

OBLIQUE = np.array(
    [
        [0.8, -0.2, 0.1, -30.0],
        [0.15, 0.9, -0.6, 12.0],
        [-0.05, 0.3, 2.4, 7.5],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def every_orientation() -> list[np.ndarray]:
    """48 affines with spacing (1, 2, 3) in world order, one per signed permutation."""
    affines = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            affine[world, axis] = sign * (world + 1.0)
        affine[:3, 3] = (5, -7, 11)
        affines.append(affine)
    return affines


def write(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def case_of(*images: Path, label: tuple[LabelPart, ...] = ()) -> Case:
    return Case(id="c1", image=tuple(ImageFile(path=p) for p in images), label=label)


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, np.ndarray]:
    data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    return write(tmp_path / "scan.nii.gz", data, np.diag([-1.0, -1.0, 2.0, 1.0])), data


@pytest.mark.parametrize("affine", [*every_orientation(), OBLIQUE], ids=lambda a: axis_codes(a))
def test_known_voxel_keeps_its_world_position(affine, tmp_path):
    data = np.zeros((4, 5, 6), dtype=np.int16)
    data[1, 3, 2] = 77
    label = (data > 0).astype(np.uint8)
    label[0, 4, 5] = 2
    case = case_of(
        write(tmp_path / "i.nii", data, affine),
        label=(LabelPart(path=write(tmp_path / "l.nii", label, affine)),),
    )
    image = load_image(case)
    assert axis_codes(image.volume.affine) == "RAS"
    assert image.orientation == axis_codes(affine)
    (found,) = np.argwhere(image.volume.data[0] == 77)
    world = image.volume.affine @ [*found, 1]
    np.testing.assert_allclose(world, affine @ [1, 3, 2, 1], atol=1e-5)

    indices = load_label(case, LIVER, image)
    assert indices[tuple(found)] == 1
    (tumor,) = np.argwhere(indices == 2)
    np.testing.assert_allclose(image.volume.affine @ [*tumor, 1], affine @ [0, 4, 5, 1], atol=1e-5)

    back = reorient_to(Volume(data=indices[np.newaxis], affine=image.volume.affine), image.stored)
    np.testing.assert_array_equal(back.data[0], label)
    again = nib.load(write_nifti(tmp_path / "back.nii.gz", back))
    np.testing.assert_array_equal(again.affine, nib.load(tmp_path / "i.nii").affine)
    np.testing.assert_array_equal(np.asarray(again.dataobj), label)


def test_label_with_other_axes_is_turned_onto_the_image(scan, tmp_path):
    path, data = scan
    label = (data == 33).astype(np.uint8)
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])  # LAS against the image's LPS: rows run the other way
    affine[1, 3] = -4.0
    part = LabelPart(path=write(tmp_path / "l.nii.gz", label[:, ::-1], affine))
    case = case_of(path, label=(part,))
    image = load_image(case)
    np.testing.assert_array_equal(load_label(case, LIVER, image) == 1, image.volume.data[0] == 33)


def test_label_of_other_shape_names_both_shapes(scan, tmp_path):
    part = LabelPart(path=write(tmp_path / "l.nii", np.zeros((4, 5, 7), np.uint8), np.eye(4)))
    case = case_of(scan[0], label=(part,))
    with pytest.raises(
        CaseError,
        match=r"case c1: .*l\.nii: label shape \(4, 5, 7\) is not image "
        r"shape \(4, 5, 6\); re-export",
    ):
        load_label(case, LIVER, load_image(case))


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.5), (2.0, 0.0, 0.0)])
def test_label_that_lies_elsewhere_names_both_affines(scan, tmp_path, shift):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = shift
    part = LabelPart(path=write(tmp_path / "l.nii", np.zeros((4, 5, 6), np.uint8), affine))
    case = case_of(scan[0], label=(part,))
    with pytest.raises(CaseError, match=r"does not lie on the image.*affine \[.*affine \[") as e:
        load_label(case, LIVER, load_image(case))
    assert "re-export" in e.value.mend


def test_affine_rounded_by_a_hundredth_of_a_voxel_is_the_same_grid(scan, tmp_path):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = 0.01
    part = LabelPart(path=write(tmp_path / "l.nii", np.ones((4, 5, 6), np.uint8), affine))
    case = case_of(scan[0], label=(part,))
    assert (load_label(case, LIVER, load_image(case)) == 1).all()


def test_values_outside_the_table_are_listed(scan, tmp_path):
    label = np.zeros((4, 5, 6), np.uint8)
    label[0, 0, :4] = (1, 2, 7, 255)
    part = LabelPart(path=write(tmp_path / "l.nii", label, np.diag([-1.0, -1.0, 2.0, 1.0])))
    case = case_of(scan[0], label=(part,))
    image = load_image(case)
    with pytest.raises(
        CaseError, match=r"values 7, 255 are not in the label table \(1 liver, 2 tu"
    ):
        load_label(case, LIVER, image)
    scheme = LabelScheme(labels=(*LIVER.labels, Label(value=7, name="cyst")), ignore_value=255)
    values = reorient_to(
        Volume(data=load_label(case, scheme, image)[np.newaxis], affine=image.volume.affine),
        image.stored,
    ).data[0]
    assert values[0, 0, :4].tolist() == [1, 2, 3, IGNORE_INDEX]


def test_later_parts_are_painted_over_earlier_ones(scan, tmp_path):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    organ, lesion = np.zeros((2, 4, 5, 6), np.uint8)
    organ[1:3] = 255
    lesion[2, 2, 2] = 9
    lesion[0, 0, 0] = 4  # not selected
    write(tmp_path / "organ.nii", organ, affine)
    write(tmp_path / "lesion.nii", lesion, affine)
    case = case_of(
        scan[0],
        label=(
            LabelPart(path=tmp_path / "organ.nii", select={"liver": ()}),
            LabelPart(path=tmp_path / "lesion.nii", select={"tumor": (9, 10)}),
        ),
    )
    image = load_image(case)
    label = load_label(case, LIVER, image)
    assert np.bincount(label.ravel()).tolist() == [60, 59, 1]
    first_only = Case(id="c1", image=case.image, label=case.label[::-1])
    assert (load_label(first_only, LIVER, image) == 2).sum() == 0


def test_select_of_an_unknown_name_gives_the_nearest(scan):
    case = case_of(scan[0], label=(LabelPart(path=scan[0], select={"livr": (5,)}),))
    with pytest.raises(CaseError, match=r"selects 'livr'.*did you mean 'liver'"):
        load_label(case, LIVER, load_image(case))


def test_ignore_value_survives_a_selection_that_does_not_claim_it(scan, tmp_path):
    label = np.full((4, 5, 6), 255, np.uint8)
    label[0] = 3
    path = write(tmp_path / "l.nii", label, np.diag([-1.0, -1.0, 2.0, 1.0]))
    scheme = LabelScheme(labels=LIVER.labels, ignore_value=255)
    image = load_image(case_of(scan[0]))

    def indices(select: dict[str, tuple[int, ...]]) -> set[int]:
        case = case_of(scan[0], label=(LabelPart(path=path, select=select),))
        return set(np.unique(load_label(case, scheme, image)).tolist())

    assert indices({"tumor": (3,)}) == {IGNORE_INDEX, 2}
    assert indices({"tumor": (255,)}) == {0, 2}
    assert indices({"tumor": ()}) == {2}


def test_labels_stored_as_whole_floats_are_read_and_others_refused(scan, tmp_path):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    label = np.ones((4, 5, 6), np.float32)
    case = case_of(scan[0], label=(LabelPart(path=write(tmp_path / "l.nii", label, affine)),))
    image = load_image(case)
    assert (load_label(case, LIVER, image) == 1).all()
    label[0, 0, 0], label[1, 1, 1] = 0.5, np.nan
    write(tmp_path / "l.nii", label, affine)
    with pytest.raises(CaseError, match=r"whole numbers, found 0\.5, nan"):
        load_label(case, LIVER, image)


def test_truncated_gzip_names_the_case_and_the_cure(scan):
    path, _ = scan
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(CaseError, match=r"case c1: .*scan\.nii\.gz: cannot be read .*copy it"):
        load_image(case_of(path))


def test_channels_of_several_files_and_axes_are_joined(scan, tmp_path):
    path, data = scan
    flipped = np.diag([-1.0, 1.0, 2.0, 1.0])
    flipped[1, 3] = -4.0
    four = np.stack([data[:, ::-1] + 100, data[:, ::-1] + 200], axis=-1)
    image = load_image(case_of(path, write(tmp_path / "b.nii", four, flipped)))
    assert image.volume.data.shape == (3, 4, 5, 6)
    np.testing.assert_array_equal(image.volume.data[1], image.volume.data[0] + 100)
    np.testing.assert_array_equal(image.volume.data[2], image.volume.data[0] + 200)


def test_channels_on_other_voxels_are_refused(scan, tmp_path):
    other = write(tmp_path / "b.nii", np.zeros((4, 5, 5), np.int16), np.eye(4))
    with pytest.raises(CaseError, match=r"b\.nii: shape \(4, 5, 5\).*\(4, 5, 6\)"):
        load_image(case_of(scan[0], other))


def write_stack(folder: Path, label: np.ndarray, names: list[str]) -> Path:
    folder.mkdir()
    for k, name in enumerate(names):
        Image.fromarray(label[:, :, k].T.astype(bool)).save(folder / name)  # 1-bit
    return folder


def test_png_stack_follows_the_file_names_of_a_dicom_series(tmp_path):
    data = np.arange(4 * 5 * 11, dtype=np.int16).reshape(4, 5, 11)
    names = [f"i{10 - k}" for k in range(11)]  # the first file by name is the top slice
    folder = write_series(tmp_path / "ct", data, names=names)
    mask = data == data[1, 2, 9]
    by_name = mask[:, :, ::-1]
    stack = write_stack(tmp_path / "gt", by_name, [f"m_{k}.png" for k in range(11)])
    case = case_of(folder, label=(LabelPart(path=stack),))
    image = load_image(case)
    assert image.slice_of_file == tuple(range(10, -1, -1))
    label = load_label(case, LIVER, image)
    assert image.volume.data[0][label == 1].tolist() == [data[1, 2, 9]]


def test_png_stack_beside_a_nifti_follows_the_stored_last_axis(scan, tmp_path):
    path, data = scan
    stack = write_stack(tmp_path / "gt", data == data[1, 2, 4], [f"{k}.png" for k in range(6)])
    case = case_of(path, label=(LabelPart(path=stack),))
    image = load_image(case)
    label = load_label(case, LIVER, image)
    assert image.volume.data[0][label == 1].tolist() == [data[1, 2, 4]]


def test_png_stack_with_too_few_slices_is_refused(scan, tmp_path):
    stack = write_stack(tmp_path / "gt", scan[1][:, :, :3], ["0.png", "1.png", "2.png"])
    case = case_of(scan[0], label=(LabelPart(path=stack),))
    with pytest.raises(CaseError, match=r"3 masks of 4 x 5 do not fit image shape \(4, 5, 6\)"):
        load_label(case, LIVER, load_image(case))


def test_photograph_and_mask_keep_rows_and_columns(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    Image.fromarray((pixels[..., 0] > 99).astype(np.uint8)).save(tmp_path / "m.png")
    case = case_of(tmp_path / "p.png", label=(LabelPart(path=tmp_path / "m.png"),))
    image = load_image(case)
    assert (image.volume.data.shape, image.orientation) == ((3, 7, 9), "")
    np.testing.assert_array_equal(image.volume.affine, np.eye(3))
    np.testing.assert_array_equal(load_label(case, LIVER, image), pixels[..., 0] > 99)
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(CaseError, match=r"label shape \(9, 7\) is not image shape \(7, 9\)"):
        load_label(case, LIVER, image)


def test_case_without_label_or_file_is_refused(scan, tmp_path):
    with pytest.raises(CaseError, match="no annotation"):
        load_label(case_of(scan[0]), LIVER, load_image(case_of(scan[0])))
    with pytest.raises(CaseError, match=r"gone\.nii: no such file"):
        load_image(case_of(tmp_path / "gone.nii"))
