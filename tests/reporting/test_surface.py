import numpy as np
import pytest
from PIL import Image

from medseg.geometry.volume import Grid
from medseg.labels import Label, LabelScheme
from medseg.reporting.surface import draw_surfaces
from tests.reporting.examples import SCHEME

GRID = Grid.of((40, 30, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
PLAIN = LabelScheme(
    labels=(Label(value=1, name="a", color="#ff0000"), Label(value=2, name="b", color="#0000ff"))
).structures


def picture(folder, pred, view, structures=PLAIN):
    draw_surfaces("c", pred, GRID, structures, folder)
    with Image.open(folder / f"surface_{view}.png") as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def reds(image):
    return np.argwhere(image[..., 0] - image[..., 2] > 60)


def blues(image):
    return np.argwhere(image[..., 2] - image[..., 0] > 60)


def two_blocks(first, second):
    pred = np.zeros(GRID.shape, dtype=np.int16)
    pred[first] = 1
    pred[second] = 2
    return pred


def test_right_is_on_the_left_and_the_head_at_the_top(tmp_path):
    """Class 1 lies to the right (high I) and high (high K)."""
    pred = two_blocks(np.s_[28:38, 10:20, 13:18], np.s_[2:12, 10:20, 2:7])
    image = picture(tmp_path, pred, "coronal")
    assert reds(image)[:, 1].max() < blues(image)[:, 1].min()
    assert reds(image)[:, 0].max() < blues(image)[:, 0].min()


@pytest.mark.parametrize(
    ("view", "near", "far"),
    [
        ("coronal", np.s_[8:30, 20:26, 5:15], np.s_[8:30, 4:10, 5:15]),  # seen from the front
        ("sagittal", np.s_[4:12, 8:22, 5:15], np.s_[28:36, 8:22, 5:15]),  # from the left
        ("axial", np.s_[8:30, 8:22, 2:5], np.s_[11:27, 11:19, 14:18]),  # from the feet
    ],
)
def test_what_is_near_hides_what_is_behind(tmp_path, view, near, far):
    image = picture(tmp_path, two_blocks(near, far), view)
    assert len(reds(image)) > 1000
    assert len(blues(image)) == 0


def test_lesions_show_through_organs(tmp_path):
    pred = np.zeros(GRID.shape, dtype=np.int16)
    pred[4:36, 4:26, 3:17] = 1
    plain = picture(tmp_path, pred, "coronal", SCHEME.structures)
    pred[15:25, 10:20, 7:13] = 2
    through = picture(tmp_path, pred, "coronal", SCHEME.structures)
    middle = tuple(n // 2 for n in plain.shape[:2])
    assert through[middle][2] > plain[middle][2] + 20, "bluer where the lesion lies"


def test_captions_say_where_the_reader_stands(tmp_path):
    pictures = draw_surfaces(
        "c", two_blocks(np.s_[5:9, 5:9, 5:9], np.s_[0:1, 0:1, 0:1]), GRID, PLAIN, tmp_path
    )
    assert [p.title for p in pictures] == [
        "From the front",
        "From the patient's left",
        "From the feet",
    ]
    assert all(p.group == "surface" and "case c" in p.alt for p in pictures)


def test_nothing_found_and_photographs_have_no_surface(tmp_path):
    assert draw_surfaces("c", np.zeros(GRID.shape, np.int16), GRID, PLAIN, tmp_path) == ()
    flat = Grid.of((8, 8), np.eye(3))
    assert draw_surfaces("c", np.ones((8, 8), np.int16), flat, PLAIN, tmp_path) == ()


def test_a_single_voxel_does_not_fail(tmp_path):
    assert (
        len(draw_surfaces("c", two_blocks(np.s_[5, 5, 5], np.s_[5, 5, 5]), GRID, PLAIN, tmp_path))
        == 3
    )
