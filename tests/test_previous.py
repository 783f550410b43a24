"""An earlier prediction as channels: where it lies, and what it says."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.artefacts import ChannelNormalization
from medseg.geometry.volume import Volume
from medseg.preprocessing import Recipe, preprocess
from medseg.previous import add_previous


def prepared(spacing: tuple[float, ...], data: np.ndarray, *, crop: bool = True):
    affine = np.diag([*([1.0] * len(spacing)), 1.0])
    recipe = Recipe(
        spacing=spacing, normalization=(ChannelNormalization(scheme="none"),), order=1, crop=crop
    )
    return preprocess(Volume(data=data[None].astype(np.float32), affine=affine), recipe)


def test_a_row_by_hand() -> None:
    ready = prepared((1.0, 1.0), np.array([[0, 0, 5, 6, 7, 0]]))  # columns 2 to 4 are kept
    pred = np.array([[1, 1, 1, 2, 0, 2]], np.int16)
    image = add_previous(ready, pred, 2).image
    assert image.dtype == np.float32
    assert image.tolist() == [[[5, 6, 7]], [[1, 0, 0]], [[0, 1, 0]]]


def same_place(pred: np.ndarray, data: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Dice of the image's own bright object and the appended channel, on the new grid."""
    image = add_previous(prepared(spacing, data), pred, 1).image
    scan, mask = image[0] > 51, image[1] > 0.5  # linear: half way between 1 and 100
    return float(2 * (scan & mask).sum() / (scan.sum() + mask.sum()))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((30, 40), (1.7, 0.8)),
        ((20, 24, 18), (1.5, 0.7, 2.1)),
        ((20, 24, 18), (1.0, 1.0, 1.0)),
    ],
)
def test_channels_lie_where_the_image_lies(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    data = np.zeros(shape)
    data[tuple(slice(3, n - 1) for n in shape)] = 1  # the crop takes three voxels off one side
    data[tuple(slice(7, n // 2 + 3) for n in shape)] = 100
    pred = (data == 100).astype(np.int16)
    assert same_place(pred, data, spacing) == 1
    for axis in range(len(shape)):
        assert same_place(np.roll(pred, 2, axis=axis), data, spacing) < 0.9


def test_a_class_that_is_nowhere_is_an_empty_channel() -> None:
    ready = prepared((1.0, 1.0), np.ones((3, 4)))
    image = add_previous(ready, np.zeros((3, 4), np.int16), 3).image
    assert image.shape == (4, 3, 4)
    assert not image[1:].any()
