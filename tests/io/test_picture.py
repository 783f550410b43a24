from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.picture import (
    picture_files,
    read_mask,
    read_mask_stack,
    read_picture,
    write_image_png,
)
from medseg.io.volumes import read_volume

GREY = np.array([[0, 10, 200], [5, 255, 3]], np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_image_has_one_channel_of_rows_and_columns(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"x{suffix}")
    volume = read_volume(tmp_path / f"x{suffix}")
    assert volume.data.tolist() == [GREY.tolist()]
    assert volume.spacing == (1.0, 1.0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_image_has_three_channels(tmp_path, mode):
    Image.fromarray(np.stack([GREY, GREY // 2, GREY // 3], -1)).convert(mode).save(
        tmp_path / "x.png"
    )
    data = read_picture(tmp_path / "x.png").data
    assert data.shape == (3, 2, 3)
    if mode != "P":
        np.testing.assert_array_equal(data[1], GREY // 2)


def test_sixteen_bit_grey_keeps_its_values(tmp_path):
    values = np.array([[0, 256, 65535]], np.uint16)
    path = write_image_png(tmp_path / "x.png", Volume(data=values[np.newaxis], affine=np.eye(3)))
    assert read_picture(path).data[0].tolist() == [[0, 256, 65535]]
    assert read_mask(path).tolist() == [[0, 256, 65535]]


def test_masks_keep_stored_values(tmp_path):
    palette = Image.fromarray(np.array([[0, 15, 255]], np.uint8)).convert("P")
    palette.putpalette([*range(256)] * 3)
    palette.save(tmp_path / "p.png")
    assert read_mask(tmp_path / "p.png").tolist() == [[0, 15, 255]]
    Image.fromarray(GREY > 9).save(tmp_path / "bit.png")
    assert read_mask(tmp_path / "bit.png").tolist() == [[0, 1, 1], [0, 1, 0]]
    Image.fromarray(np.stack([GREY] * 3, -1)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.png"), GREY)


def test_mask_in_colour_is_refused(tmp_path):
    Image.fromarray(np.stack([GREY, GREY, GREY // 2], -1)).save(tmp_path / "x.png")
    with pytest.raises(FormatError, match=r"x\.png: the mask is in colour"):
        read_mask(tmp_path / "x.png")


def test_stack_is_in_natural_order_with_columns_first(tmp_path):
    for k in range(11):
        Image.fromarray(np.where(GREY > 9, k, 0).astype(np.uint8)).save(tmp_path / f"m{k}.png")
    (tmp_path / "notes.txt").write_text("x")
    files = picture_files(tmp_path)
    assert [f.name for f in files[:3]] == ["m0.png", "m1.png", "m2.png"]
    stack = read_mask_stack(files)
    assert stack.shape == (3, 2, 11)
    assert stack[2, 0].tolist() == list(range(11))  # column 2, row 0
    np.testing.assert_array_equal(read_volume(tmp_path).data[0], stack)
    Image.fromarray(GREY.T.copy()).save(tmp_path / "m11.png")
    with pytest.raises(FormatError, match=r"m11\.png: size \(2, 3\) differs from \(3, 2\) of m0"):
        read_mask_stack(picture_files(tmp_path))


def test_written_image_is_read_back(tmp_path):
    for data in (GREY[np.newaxis].astype(np.int16), np.stack([GREY, GREY // 2, GREY // 3])):
        path = write_image_png(tmp_path / "x.png", Volume(data=data, affine=np.eye(3)))
        np.testing.assert_array_equal(read_picture(path).data, data)
    with pytest.raises(ValueError, match="no PNG image"):
        write_image_png(path, Volume(data=GREY[np.newaxis].astype(int) - 1, affine=np.eye(3)))


def test_damaged_and_many_paged_images_are_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    path = tmp_path / "x.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(FormatError, match=r"x\.png: pixels cannot be decoded"):
        read_picture(path)
    path.write_text("nothing")
    with pytest.raises(FormatError, match=r"x\.png: cannot be read as an image"):
        read_picture(path)
    pages = [Image.fromarray(noise), Image.fromarray(noise)]
    pages[0].save(tmp_path / "y.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(FormatError, match=r"y\.tif: holds 2 pages"):
        read_picture(tmp_path / "y.tif")


def test_unknown_format_is_refused(tmp_path):
    (tmp_path / "x.xyz").write_text("nothing")
    with pytest.raises(FormatError, match=r"x\.xyz: format not known; convert it"):
        read_volume(tmp_path / "x.xyz")
