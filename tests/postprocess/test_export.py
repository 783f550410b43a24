from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.config import read_document
from medseg.geometry.orientation import axis_codes, to_closest_ras
from medseg.geometry.volume import Grid, Volume
from medseg.io.picture import read_colours
from medseg.labels import Label, LabelScheme
from medseg.manifest_file import load_manifest
from medseg.postprocess.export import (
    label_colours,
    prediction_name,
    stored_grid,
    write_coloured,
    write_prediction,
)

CODES = [
    "".join(codes)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for codes in itertools.product(*order)
]


@pytest.mark.parametrize("oblique", [False, True])
def test_stored_grid_undoes_the_turn_to_canonical_axes(oblique):
    base = np.diag([0.7, 1.1, 3.0, 1.0])
    if oblique:
        angle = np.deg2rad(15)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        base = turn @ base
    base[:3, 3] = (10.0, -20.0, 5.0)
    for codes in CODES:
        ornt = nib.orientations.axcodes2ornt(codes)
        turned = nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), base).as_reoriented(
            nib.orientations.ornt_transform(nib.orientations.io_orientation(base), ornt)
        )
        volume = Volume(data=turned.get_fdata()[np.newaxis], affine=turned.affine)
        assert axis_codes(volume.affine) == codes
        found = stored_grid(to_closest_ras(volume).grid, codes)
        assert found.shape == volume.grid.shape
        np.testing.assert_allclose(found.matrix, turned.affine, atol=1e-12)


def test_a_photograph_has_one_grid():
    grid = Grid.of((3, 4), np.eye(3))
    assert stored_grid(grid, "") == grid


def test_names():
    assert prediction_name("a", 3) == "a.nii.gz"
    assert prediction_name("a", 2) == "a.png"


def test_a_photograph_is_written_in_the_colours_of_its_table(tmp_path):
    labels = (Label(value=4, name="road", color="#804080"), Label(value=9, name="sky"))
    colours = label_colours(LabelScheme(labels=labels), 2)
    assert colours == ("#804080", "#56B4E9")  # the second of the palette
    assert label_colours(LabelScheme(labels=labels), 3) == ()
    indices = np.array([[1, 2], [0, -1]], np.int16)
    pixels = read_colours(write_coloured(tmp_path / "c.png", indices, colours))
    assert pixels[0].tolist() == [[128, 64, 128], [0x56, 0xB4, 0xE9]]
    assert pixels[1].tolist() == [[0, 0, 0], [0, 0, 0]]


def scheme_of(name, tmp_path):
    """Return the label table of a shipped manifest; no data has to be there."""
    root = read_document(name, kind="data_manifests").data["root"]
    (tmp_path / (root if isinstance(root, str) else root[0])).mkdir(parents=True)
    return load_manifest(name, data_root=tmp_path, scratch=tmp_path).scheme


def written(scheme, indices, folder):
    """Write a prediction as a run does; return the file's mode and values."""
    grid = Grid.of(indices.shape, np.eye(3))
    path = folder / prediction_name("a", 2)
    write_prediction(path, indices, grid, stored_grid(grid, ""), scheme)
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


CITYSCAPES = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cityscapes", CITYSCAPES),  # labelIds, whatever the training files held
        ("cityscapes_trainids", CITYSCAPES),
        ("ade20k", list(range(1, 151))),  # 0 is "other" and never predicted
        ("voc2012", list(range(1, 21))),
    ],
)
def test_predictions_hold_what_the_server_of_the_data_set_expects(tmp_path, name, values):
    scheme = scheme_of(name, tmp_path)
    classes = np.arange(1, len(values) + 1, dtype=np.int16).reshape(1, -1)
    mode, found = written(scheme, classes, tmp_path)
    assert (mode, found.dtype) == ("L", np.uint8)
    assert found.tolist() == [values]


def voc_colours():
    """PASCAL's own colour map: the bits of a class number, dealt out to red, green and blue."""
    table = np.zeros((256, 3), int)
    for number in range(256):
        for digit in range(3):  # octal digits, from the last
            for channel in range(3):
                table[number, channel] |= (number >> (3 * digit + channel) & 1) << (7 - digit)
    return table


def test_coloured_predictions_of_voc_are_the_palette_png_of_its_server(tmp_path):
    scheme = scheme_of("voc2012", tmp_path)
    classes = np.arange(21, dtype=np.int16).reshape(3, 7)
    values = [label.value for label in scheme.labels]
    path = write_coloured(tmp_path / "c.png", classes, label_colours(scheme, 2), values)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == classes.tolist()  # 0 is background
    assert read_colours(path).reshape(21, 3).tolist() == voc_colours()[:21].tolist()


def test_palette_holds_the_tables_values_and_larger_ones_become_colours(tmp_path):
    classes = np.array([[1, 2], [0, -1]], np.int16)
    path = write_coloured(tmp_path / "a.png", classes, ("#102030", "#405060"), (7, 23))
    with Image.open(path) as image:
        assert np.asarray(image).tolist() == [[7, 23], [0, 0]]
    wide = write_coloured(tmp_path / "b.png", classes, ("#102030", "#405060"), (7, 1831))
    with Image.open(wide) as image:
        assert image.mode == "RGB"
    assert (read_colours(path) == read_colours(wide)).all()
    assert read_colours(path)[0].tolist() == [[16, 32, 48], [64, 80, 96]]
