import io

import numpy as np
import pytest
from PIL import Image

from medseg.reporting.section_picture import (
    Contour,
    Frame,
    contour_path,
    draw_section,
    pale,
    scale_bar_length,
)

NO_LETTERS = ("", "", "", "")


def frame(pixel=(1.0, 1.0), letters=NO_LETTERS):
    return Frame(pixel=pixel, letters=letters, unit="mm")


def drawn(mask, pixel=(1.0, 1.0)):
    """Return where a red contour is in the picture, and the picture's size."""
    contours = [Contour(mask=mask, color="#FF0000")]
    png = draw_section(np.zeros(mask.shape), contours, frame(pixel), 0.0, 1.0)
    rgb = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return (rgb[..., 0] > 150) & (rgb[..., 1] < 100), rgb.shape[:2]


def mask_with(rows, cols, shape=(40, 60)):
    mask = np.zeros(shape, dtype=bool)
    mask[rows, cols] = True
    return mask


@pytest.mark.parametrize(("axis", "spacing"), [(0, 2.5), (1, 0.75)])
def test_a_shift_of_one_voxel_moves_the_contour_by_one_spacing(axis, spacing):
    mask = mask_with(slice(5, 12), slice(20, 31))
    pixel = (0.75, 2.5)
    before = contour_path(mask, pixel).vertices
    after = contour_path(np.roll(mask, 1, axis=axis), pixel).vertices
    moved = np.array([0.0, spacing]) if axis == 0 else np.array([spacing, 0.0])
    np.testing.assert_allclose(after - before, np.broadcast_to(moved, before.shape))


def test_the_contour_lies_on_the_voxel_borders():
    path = contour_path(mask_with(slice(5, 12), slice(20, 31)), (0.75, 2.5))
    box = path.get_extents()
    assert (box.x0, box.x1) == (20 * 0.75, 31 * 0.75)
    assert (box.y0, box.y1) == (5 * 2.5, 12 * 2.5)


def test_the_picture_shows_the_contour_in_its_place():
    found, (height, width) = drawn(mask_with(slice(10, 20), slice(15, 45)))
    rows, cols = np.nonzero(found)
    scale = width / 60
    assert height / 40 == pytest.approx(scale, rel=0.02)
    assert cols.min() == pytest.approx(15 * scale, abs=4)
    assert cols.max() == pytest.approx(45 * scale, abs=4)
    assert rows.min() == pytest.approx(10 * scale, abs=4)
    assert rows.max() == pytest.approx(20 * scale, abs=4)


def test_a_mirrored_mask_shows():
    mask = mask_with(slice(10, 20), slice(3, 12))
    left, right = drawn(mask)[0], drawn(mask[:, ::-1])[0]
    half = left.shape[1] // 2
    assert left[:, :half].any()
    assert not left[:, half:].any()
    assert right[:, half:].any()
    assert not right[:, :half].any()


def top_side(dashed):
    """Return the brightest colour per column around the upper side of a rectangle's contour."""
    mask = mask_with(slice(10, 20), slice(15, 45))
    contours = [Contour(mask=mask, color="#FF0000", dashed=dashed)]
    png = draw_section(np.zeros(mask.shape), contours, frame(), 0.0, 1.0)
    rgb = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    scale = rgb.shape[1] / 60
    rows = slice(round(10 * scale) - 4, round(10 * scale) + 4)
    return rgb[rows, round(16 * scale) : round(44 * scale)].max(axis=0)


def test_only_dashes_leave_gaps_and_they_are_paler():
    solid, dashed = top_side(dashed=False), top_side(dashed=True)
    assert (solid[:, 0] > 150).all()
    assert 0.2 < (dashed[:, 0] < 60).mean() < 0.5
    assert solid[:, 1].max() < 60
    assert dashed[:, 1].max() > 110
    assert pale("#FF0000") == pytest.approx((1.0, 0.55, 0.55))


def test_anisotropic_voxels_keep_the_proportions():
    _, (height, width) = drawn(np.zeros((20, 60), dtype=bool), pixel=(1.0, 5.0))
    assert width / height == pytest.approx(60 / 100, rel=0.02)


def test_letters_are_drawn_at_their_sides():
    def bright(letters):
        png = draw_section(np.zeros((40, 40)), [], frame(letters=letters), 0.0, 1.0)
        return np.asarray(Image.open(io.BytesIO(png)).convert("L")) > 128

    plain = bright(NO_LETTERS)
    for i, part in enumerate((np.s_[:, :60], np.s_[:, -60:], np.s_[:60], np.s_[-60:])):
        letters = tuple("R" if k == i else "" for k in range(4))
        extra = bright(letters) & ~plain
        outside = extra.copy()
        outside[part] = False
        assert extra.sum() > 20
        assert not outside.any()


def test_the_same_slice_gives_the_same_bytes():
    mask = mask_with(slice(10, 20), slice(15, 45))
    contours = [Contour(mask=mask, color="#56B4E9")]
    first = draw_section(np.eye(40, 60), contours, frame(), 0.0, 1.0)
    assert first == draw_section(np.eye(40, 60), contours, frame(), 0.0, 1.0)


@pytest.mark.parametrize(
    ("width", "length"), [(350, 50), (4.1, 1), (80, 20), (40, 10), (3.0, 0.5), (900, 200)]
)
def test_scale_bars_have_round_lengths(width, length):
    assert scale_bar_length(width) == pytest.approx(length)
    assert scale_bar_length(width) <= width / 4


def test_an_empty_mask_has_no_contour():
    assert contour_path(np.zeros((3, 3), dtype=bool), (1.0, 1.0)) is None
