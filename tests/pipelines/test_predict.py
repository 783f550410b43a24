from __future__ import annotations

import argparse
import itertools
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.labels import Label, LabelScheme
from medseg.pipelines import cli
from medseg.pipelines.predict import main, predict
from medseg.pipelines.predict_inputs import find_cases, group_channels, stem
from medseg.pipelines.predict_record import RECORD
from tests.inference.toys import install, make_model_folder, make_plan

SPACING = (1.0, 1.5, 2.0)
TILTED = np.array(  # turns of 20 and 12 degrees, so RAS stays the closest orientation
    [
        [0.91914, -0.34202, 0.19537],
        [0.33455, 0.93969, 0.07111],
        [-0.20791, 0.0, 0.97815],
    ]
)
ORIENTATIONS = [
    "".join(codes)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for codes in itertools.product(*order)
]


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    plan = make_plan(spacing=SPACING, patch_size=(4, 4, 4))
    return make_model_folder(tmp_path / "run", plan).parent


def ras_affine(rotation=None):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(SPACING)
    affine[:3, 3] = (-30.0, 12.5, 7.25)
    return affine


def write_turned(path, data, affine, codes):
    """Write RAS voxels with other axes, by nibabel's own functions."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    image = nib.Nifti1Image(data, affine).as_reoriented(turn)
    nib.save(image, path)
    return image


def world(affine, voxels):
    return nib.affines.apply_affine(affine, voxels)


def bright_volume(shape=(7, 6, 5), start=(1, 3, 2), size=(1, 1, 1)):
    data = np.zeros(shape, dtype=np.float32)
    data[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 1.0
    return data


def arguments(model, source, out, **changes):
    settings = {"model": model, "input": source, "out": out, "device": "cpu", "overwrite": False}
    settings |= {"quiet": False, "debug": False, "watch": False, "folds": (), "maps": ()}
    settings |= {"report": False, "identifiers": "drop", "names": None, "memory": "auto"}
    return argparse.Namespace(**{**settings, **changes})


@pytest.mark.parametrize("rotation", [None, TILTED], ids=["straight", "oblique"])
def test_a_voxel_keeps_its_place_in_all_48_orientations(tmp_path, model, rotation):
    """Spacing unchanged: the bright voxel, and no other, is marked, on exactly the input's grid."""
    data, affine = bright_volume(), ras_affine(rotation)
    images = tmp_path / "images"
    images.mkdir()
    written = {c: write_turned(images / f"{c}.nii.gz", data, affine, c) for c in ORIENTATIONS}
    assert len(written) == 48
    result = predict(model, images, tmp_path / "out", device="cpu")
    assert len(result.written) == 48
    place = world(affine, [1, 3, 2])
    for codes, source in written.items():
        found = nib.load(tmp_path / "out" / f"{codes}.nii.gz")
        assert "".join(nib.aff2axcodes(found.affine)) == codes
        assert found.shape == source.shape
        np.testing.assert_allclose(found.affine, nib.load(images / f"{codes}.nii.gz").affine)
        values = np.asanyarray(found.dataobj)
        assert values.dtype == np.uint8
        assert np.array_equal(values, 5 * (source.get_fdata() > 0.5))  # 5: the table's value
        np.testing.assert_allclose(world(found.affine, np.argwhere(values))[0], place, atol=1e-5)


@pytest.mark.parametrize("rotation", [None, TILTED], ids=["straight", "oblique"])
@pytest.mark.parametrize("spacing", [(1.3, 1.1, 2.9), (0.7, 1.0, 1.2)])
def test_a_block_keeps_its_place_when_resampled(tmp_path, rotation, spacing):
    """Its centre moves by less than half a voxel of the coarser grid along each axis."""
    plan = make_plan(spacing=spacing, patch_size=(6, 6, 6))
    model = make_model_folder(tmp_path / "run", plan)
    affine = ras_affine(rotation)
    data = bright_volume((15, 13, 14), (3, 6, 5), (5, 4, 3))
    images = tmp_path / "images"
    images.mkdir()
    codes = ("LPS", "SAR", "IRP", "RAS")
    for code in codes:
        write_turned(images / f"{code}.nii.gz", data, affine, code)
    predict(model, images, tmp_path / "out", device="cpu")
    centre = world(affine, np.argwhere(data)).mean(axis=0)
    coarser = np.maximum(spacing, SPACING)
    for code in codes:
        found = nib.load(tmp_path / "out" / f"{code}.nii.gz")
        moved = world(found.affine, np.argwhere(found.get_fdata())).mean(axis=0) - centre
        along_axes = np.abs(np.linalg.inv(affine[:3, :3] / SPACING) @ moved)
        assert (along_axes < coarser / 2).all(), (code, along_axes)


def test_what_is_there_is_kept_unless_overwritten(tmp_path, model):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name in ("a", "b"):
        write_turned(images / f"{name}.nii.gz", bright_volume(), ras_affine(), "RAS")
    assert len(predict(model, images, out).written) == 2
    (out / "a.nii.gz").write_bytes(b"mine")
    (out / "b.nii.gz").unlink()
    again = predict(model, images, out)
    assert [p.name for p in again.written] == ["b.nii.gz"]
    assert [p.name for p in again.skipped] == ["a.nii.gz"]
    assert (out / "a.nii.gz").read_bytes() == b"mine"
    assert len(predict(model, images, out, overwrite=True).written) == 2
    assert nib.load(out / "a.nii.gz").shape == (7, 6, 5)
    assert sorted(p.name for p in out.iterdir()) == ["a.nii.gz", "b.nii.gz", RECORD]


def test_nothing_to_do_loads_no_network(tmp_path, model):
    write_turned(tmp_path / "a.nii.gz", bright_volume(), ras_affine(), "RAS")
    predict(model, tmp_path / "a.nii.gz", tmp_path / "out")
    (model / "model/weights.safetensors").write_bytes(b"damaged")
    assert predict(model, tmp_path / "a.nii.gz", tmp_path / "out").written == ()


def test_a_bad_file_is_set_aside_and_the_rest_goes_on(tmp_path, model, caplog):
    images = tmp_path / "images"
    images.mkdir()
    for name in "abcd":
        write_turned(images / f"{name}.nii.gz", bright_volume(), ras_affine(), "RAS")
    cut = (images / "b.nii.gz").read_bytes()
    (images / "b.nii.gz").write_bytes(cut[: len(cut) // 2])
    nan = bright_volume()
    nan[0, 0, 0] = np.nan
    write_turned(images / "c.nii.gz", nan, ras_affine(), "RAS")
    with caplog.at_level(logging.INFO):
        code = main(arguments(model, images, tmp_path / "out"))
    assert code == 3
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a.nii.gz", "d.nii.gz", RECORD]
    listed = [m for m in caplog.messages if m.startswith("set aside")]
    assert len(listed) == 2
    assert "case b" in listed[0]
    assert "case c" in listed[1]
    assert "1 voxels are NaN" in listed[1]


def test_the_command_line(tmp_path, model, capsys):
    write_turned(tmp_path / "a.nii.gz", bright_volume(), ras_affine(), "RAS")
    words = ["predict", str(model), str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert "1 predicted, 0 there already" in capsys.readouterr().err
    assert cli.main(words) == 0
    assert "0 predicted, 1 there already" in capsys.readouterr().err
    assert cli.main([*words, "--overwrite", "--quiet"]) == 0
    assert "predicted" not in capsys.readouterr().err
    assert cli.main(["predict", str(tmp_path / "no"), *words[2:]]) == 2
    assert "no such folder; give a run folder or a model folder" in capsys.readouterr().err


def test_a_model_of_generated_data_says_so(tmp_path, model, caplog):
    write_turned(tmp_path / "a.nii.gz", bright_volume(), ras_affine(), "RAS")
    assert main(arguments(model, tmp_path / "a.nii.gz", tmp_path / "out")) == 0
    assert any("SYNTHETIC" in m for m in caplog.messages)


def test_images_that_do_not_suit_the_model_are_set_aside(tmp_path, model):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    (aside,) = predict(model, tmp_path / "a.nii", tmp_path / "out").set_aside
    assert "2 channel(s), the model needs 1: image" in aside.reason
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "b.png")
    (aside,) = predict(model, tmp_path / "b.png", tmp_path / "out").set_aside
    assert "a photograph of shape (4, 5); the model was trained on volumes" in aside.reason


def test_an_input_is_never_overwritten(tmp_path, model):
    path = tmp_path / "a.nii.gz"
    write_turned(path, bright_volume(), ras_affine(), "RAS")
    with pytest.raises(ConfigError, match="is an input"):
        predict(model, path, tmp_path, overwrite=True)
    assert nib.load(path).get_fdata().max() == 1


def test_rules_of_the_model_are_applied(tmp_path):
    plan = make_plan(spacing=SPACING, patch_size=(4, 4, 4))
    rules = (PostprocessRule(structure="bright", keep_largest=True),)
    model = make_model_folder(tmp_path / "run", plan, rules)
    data = bright_volume(size=(2, 2, 2))
    data[5, 0, 0] = 1
    write_turned(tmp_path / "a.nii.gz", data, ras_affine(), "LAS")
    predict(model, tmp_path / "a.nii.gz", tmp_path / "out")
    assert (nib.load(tmp_path / "out/a.nii.gz").get_fdata() == 5).sum() == 8


def test_photographs_become_png(tmp_path):
    scheme = LabelScheme(labels=(Label(value=255, name="vessel"),))
    plan = make_plan(
        spacing=(1.0, 1.0), patch_size=(4, 4), channels=("red", "green", "blue"), scheme=scheme
    )
    model = make_model_folder(tmp_path / "run", plan)
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[1, 4] = 200
    Image.fromarray(pixels).save(images / "eye.png")
    predict(model, images, tmp_path / "out")
    mask = np.asarray(Image.open(tmp_path / "out/eye.png"))
    assert mask.shape == (5, 7)
    assert mask[1, 4] == 255
    assert np.count_nonzero(mask) == 1


def test_channels_in_files_of_their_own(tmp_path):
    plan = make_plan(spacing=SPACING, patch_size=(4, 4, 4), channels=("flair", "t1"))
    model = make_model_folder(tmp_path / "run", plan)
    images = tmp_path / "images"
    images.mkdir()
    first, second = bright_volume(), bright_volume()
    first[0, 0, 0] = 0.9  # bright in one channel: the mean is below the threshold
    write_turned(images / "p1_FLAIR.nii.gz", first, ras_affine(), "RAS")
    write_turned(images / "p1_t1.nii.gz", second, ras_affine(), "LPS")  # stored otherwise
    write_turned(images / "p2_0000.nii.gz", first, ras_affine(), "RAS")
    write_turned(images / "p2_0001.nii.gz", second, ras_affine(), "RAS")
    write_turned(images / "p3_0001.nii.gz", second, ras_affine(), "RAS")
    stacked = np.stack([first, second], axis=-1)
    nib.save(nib.Nifti1Image(stacked, ras_affine()), images / "p4.nii.gz")
    result = predict(model, images, tmp_path / "out")
    assert [p.name for p in result.written] == ["p1.nii.gz", "p2.nii.gz", "p4.nii.gz"]
    (aside,) = result.set_aside
    assert aside.case == "p3"
    assert "p3_flair" in aside.reason
    for path in result.written:
        assert np.argwhere(nib.load(path).get_fdata()).tolist() == [[1, 3, 2]]


def test_two_cases_of_one_name_are_refused(tmp_path, model):
    write_turned(tmp_path / "a.nii.gz", bright_volume(), ras_affine(), "RAS")
    write_turned(tmp_path / "a.nii", bright_volume(), ras_affine(), "RAS")
    with pytest.raises(ConfigError, match="both be written as 'a'"):
        predict(model, tmp_path, tmp_path / "out")


def test_nothing_to_predict(tmp_path, model):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no NIfTI"):
        predict(model, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ConfigError, match="no such file or folder"):
        predict(model, tmp_path / "nothing", tmp_path / "out")


def test_names():
    assert [stem(p) for p in (Path("x/a.b.nii.gz"), Path("c.nrrd"))] == [
        "a.b",
        "c",
    ]


def test_one_channel_models_take_names_as_they_are(tmp_path):
    cases, aside = group_channels([tmp_path / "a_0000.nii.gz"], ["image"])
    assert [case.id for case in cases] == ["a_0000"]
    assert aside == []


@pytest.mark.data
def test_dicom_series_come_back_on_their_own_grid(data_root, tmp_path, model):
    """A real CT series: found below the folder, written as NIfTI on the stored grid."""
    from medseg.io.dicom import list_series, read_series

    folders = sorted({p.parent for p in (data_root / "dicom").rglob("*.dcm")})
    found = [(f, s) for f in folders for s in list_series(f).values()]
    folder, series = min(found, key=lambda pair: len(pair[1].files))
    cases, _ = find_cases(folder.parent, ["image"], 3)
    assert series.uid in {case.image[0].series for case in cases}
    stored = read_series(series.files).volume
    plan = make_plan(spacing=(8.0, 8.0, 8.0), patch_size=(16, 16, 16), crop=False)
    small = make_model_folder(tmp_path / "coarse", plan)
    result = predict(small, folder, tmp_path / "out")
    written = nib.load(result.written[0])
    np.testing.assert_allclose(written.affine, stored.affine, atol=1e-4)
    assert written.shape == stored.grid.shape
    values = np.asanyarray(written.dataobj) > 0
    bright = stored.data[0] > 0.5
    agreement = 2 * (values & bright).sum() / (values.sum() + bright.sum())
    assert agreement > 0.8  # a threshold at 8 mm against one at full resolution
