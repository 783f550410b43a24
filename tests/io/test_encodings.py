from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from scipy.io import savemat

from medseg.case import LabelPart
from medseg.errors import FormatError
from medseg.geometry.volume import Grid
from medseg.io.decoders import decode
from medseg.io.encodings import (
    ade_classes,
    first_channel,
    high_byte,
    packed_colours,
    panoptic_ids,
    thousands,
)
from medseg.io.matlab import bsds_boundaries, bsds_segments, coco_stuff_classes, sbd_classes


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_colour_packings_worked_by_hand(tmp_path):
    path = save(tmp_path / "x.png", np.array([[[71, 39, 1], [15, 145, 2]]], np.uint8))
    assert packed_colours(path).tolist() == [[0x472701, 0x0F9102]]
    assert ade_classes(path).tolist() == [[7 * 256 + 39, 1 * 256 + 145]]
    assert panoptic_ids(path).tolist() == [[71 + 39 * 256 + 65536, 15 + 145 * 256 + 2 * 65536]]


def test_palette_image_is_packed_by_its_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.save(tmp_path / "p.png")
    assert packed_colours(tmp_path / "p.png").tolist() == [[0x010203, 0x040506]]


def test_instance_ids_give_their_class(tmp_path):
    path = save(tmp_path / "i.png", np.array([[7, 26003, 33000]], np.uint16))
    assert thousands(path).tolist() == [[7, 26, 33]]
    path = save(tmp_path / "k.png", np.array([[768, 6913, 6914]], np.uint16))
    assert high_byte(path).tolist() == [[3, 27, 27]]


def test_16_bit_colour_png_keeps_its_low_byte(tmp_path):
    bands = np.array([[[3, 700, 0], [22, 1, 0]]], np.uint16)
    path = tmp_path / "s.png"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(bands, isVector=True), str(path))
    assert first_channel(path).tolist() == [[3, 22]]
    assert first_channel(save(tmp_path / "g.png", np.array([[5]], np.uint8))).tolist() == [[5]]


def test_matlab_files_of_three_data_sets(tmp_path):
    classes = np.array([[0, 15], [2, 2]], np.uint8)
    savemat(tmp_path / "sbd.mat", {"GTcls": {"Segmentation": classes}})
    savemat(tmp_path / "stuff.mat", {"S": classes})
    assert sbd_classes(tmp_path / "sbd.mat").tolist() == classes.tolist()
    assert coco_stuff_classes(tmp_path / "stuff.mat").tolist() == classes.tolist()
    with pytest.raises(FormatError, match="holds no variable 'GTcls'"):
        sbd_classes(tmp_path / "stuff.mat")
    (tmp_path / "no.mat").write_text("x")
    with pytest.raises(FormatError, match="cannot be read as a MATLAB file"):
        sbd_classes(tmp_path / "no.mat")


def test_boundary_is_what_half_of_the_annotators_drew(tmp_path):
    drawn = np.empty((1, 4), dtype=object)
    for i, row in enumerate(([1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1])):
        drawn[0, i] = {
            "Boundaries": np.array([row], np.uint8),
            "Segmentation": np.array([[1, 2, i + 1]], np.uint16),
        }
    savemat(tmp_path / "b.mat", {"groundTruth": drawn})
    assert bsds_boundaries(tmp_path / "b.mat").tolist() == [[1, 1, -1]]
    assert [s.tolist() for s in bsds_segments(tmp_path / "b.mat")][3] == [[1, 2, 4]]


def test_annotation_of_another_size_is_refused(tmp_path):
    path = save(tmp_path / "x.png", np.zeros((2, 3, 3), np.uint8))
    part = LabelPart(path=path, decoder="rgb")
    values, names = decode(part, Grid.of((2, 3), np.eye(3)))
    assert (values.shape, names) == ((2, 3), None)
    with pytest.raises(FormatError, match="drawn on 3 x 2 pixels, the image has 2 x 3"):
        decode(part, Grid.of((3, 2), np.eye(3)))
    with pytest.raises(FormatError, match="encoding 'rgb' is for photographs"):
        decode(part, Grid.of((2, 3, 1), np.eye(4)))
    with pytest.raises(FormatError, match="no such file"):
        decode(LabelPart(path=tmp_path / "absent.png", decoder="rgb"), Grid.of((2, 3), np.eye(3)))
