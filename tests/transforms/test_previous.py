"""An earlier prediction among the channels: it moves with the image and is spoilt by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medseg.transforms import Augmenter
from medseg.transforms.draw import Drawn
from medseg.transforms.previous import change_shapes, draw_previous, grow, remove_parts

NONE_OF_ITS_OWN = {"previous_morphology": {"p": 0.0}, "previous_removal": {"p": 0.0}}
INTENSITY = {
    name: {"p": 0.0}
    for name in (
        "noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "gamma_inverted",
    )
}  # fmt: skip


def blob(*shape: int) -> Tensor:
    """A smooth random mask."""
    values = np.random.default_rng(0).standard_normal(shape)
    return torch.from_numpy(ndimage.gaussian_filter(values, 2) > 0)


def one(values: list[float]) -> Drawn:
    """What was drawn for the first image of a batch."""
    return Drawn(torch.tensor([0]), torch.tensor([values]))


def test_a_disc_by_hand() -> None:
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[2, 2] = True
    cross = [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    assert grow(mask, 2.0, (1.0, 1.0)).int().tolist() == cross
    # rows 2 mm apart: one row is as far as two columns
    flat = [[0] * 5, [0, 0, 1, 0, 0], [1] * 5, [0, 0, 1, 0, 0], [0] * 5]
    assert grow(mask, 2.0, (2.0, 1.0)).int().tolist() == flat


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((23, 31), (1.0, 0.7)), ((9, 15, 12), (3.0, 1.0, 1.1)), ((1, 20, 20), (5.0, 1.0, 1.0))],
)
def test_grows_as_the_distance_transform_says(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask.view(-1)[:: mask.numel() // 5] = True
    distance = ndimage.distance_transform_edt(~mask.numpy(), sampling=spacing)
    np.testing.assert_array_equal(grow(mask, 3.35, spacing).numpy(), distance <= 3.35)


def test_nothing_grows_out_of_nothing() -> None:
    empty = torch.zeros(4, 1, dtype=torch.bool)
    assert not grow(empty, 8.0, (1.0, 1.0)).any()
    assert (~grow(empty, 8.0, (1.0, 1.0))).all()


def test_operations_are_dilation_erosion_opening_closing() -> None:
    line = torch.tensor([0, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0], dtype=torch.bool)
    wanted = [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    ]
    for number, expected in enumerate(wanted):
        masks = line.clone().view(1, 1, -1)
        change_shapes(masks, one([float(number), 1.0]), (0.5,))  # a radius of one voxel: 0.5 mm
        assert masks.flatten().int().tolist() == expected, number


def test_what_one_class_gains_another_loses() -> None:
    masks = torch.zeros(1, 2, 10, 10, dtype=torch.bool)
    masks[0, 0, :, :5] = True
    masks[0, 1, :, 5:] = True
    change_shapes(masks, one([0.0, 1.0, 2.0, 0.2]), (1.0, 1.0))  # the second: too small to act
    assert masks[0, 0].sum(dim=1).tolist() == [7] * 10
    assert not (masks[0, 0] & masks[0, 1]).any()


def test_a_small_part_goes_and_a_large_one_stays() -> None:
    masks = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    masks[0, 0, :, :4] = True  # 40 of 100 voxels
    masks[0, 0, 1, 6] = masks[0, 0, 2, 7] = True  # touching at a corner: one part
    masks[0, 0, 8, 8] = True
    first, last = masks.clone(), masks.clone()
    remove_parts(first, one([0.0]), 0.15)
    remove_parts(last, one([0.999]), 0.15)
    assert first[0, 0, :, 4:].nonzero().tolist() == [[8, 4]]
    assert last[0, 0, :, 4:].nonzero().tolist() == [[1, 2], [2, 3]]
    assert first[0, 0, :, :4].all()
    assert last[0, 0, :, :4].all()


@pytest.mark.parametrize("size", [(24, 20), (12, 16, 14), (1, 24, 20)])
def test_mask_and_image_stay_on_each_other(size: tuple[int, ...]) -> None:
    mask = blob(*size).float()
    image = torch.stack([mask, mask, 1 - mask]).expand(6, 3, *size).clone()
    before, label = image.clone(), mask.to(torch.int16).expand(6, *size).clone()
    augment = Augmenter(
        {**NONE_OF_ITS_OWN, **INTENSITY, "rotate": {"p": 0.8}, "scale": {"p": 0.8}},
        patch_size=size,
        spacing=(2.0, 1.0, 1.0)[-len(size) :],
        mirror_axes=(0, 1),
        previous=2,
    )
    moved, label = augment(image, label, torch.Generator().manual_seed(1))
    inside = label >= 0
    for scan, same, other, known in zip(moved[:, 0], moved[:, 1], moved[:, 2], inside, strict=True):
        assert ((scan > 0.5) == (same > 0.5))[known].all()
        assert ((scan < 0.5) == (other > 0.5))[known].all()
    assert set(moved[:, 1:].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(moved[:, 1], before[:, 1])
    assert torch.equal(image, before)


@pytest.mark.parametrize("batch", [1, 3])
def test_intensities_leave_the_prediction_alone(batch: int) -> None:
    size = (10, 12)
    image = torch.rand(batch, 3, *size)
    image[:, 1:] = blob(*size).float()
    before = image.clone()
    names = [*INTENSITY, "bias_field", "erase"]
    augment = Augmenter(
        {
            **NONE_OF_ITS_OWN,
            **{name: {"p": 1.0} for name in names},
            "rotate": {"p": 0.0},
            "scale": {"p": 0.0},
        },
        patch_size=size,
        spacing=(1.0, 1.0),
        previous=2,
    )
    label = torch.zeros(batch, *size, dtype=torch.int16)
    moved, _ = augment(image, label, torch.Generator().manual_seed(0))
    assert torch.equal(moved[:, 1:], before[:, 1:])
    assert (moved[:, 0] != before[:, 0]).any()
    assert torch.equal(image, before)


def test_colours_are_of_the_image_alone() -> None:
    augment = Augmenter(
        {"preset": "photographs", "colour": {"p": 1.0}},
        patch_size=(8, 8),
        spacing=(1.0, 1.0),
        previous=1,
    )
    image, label = torch.rand(2, 4, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int16)
    assert augment(image, label, torch.Generator())[0].shape == (2, 4, 8, 8)


def test_the_image_is_as_spared_as_before() -> None:
    """Spoiling the prediction changes neither scan nor label."""
    size = (12, 16, 14)
    image = torch.stack([torch.rand(size), blob(*size).float()]).expand(4, 2, *size).clone()
    label = blob(*size).to(torch.int16).expand(4, *size)
    off = {name: {"p": 0.0} for name in ("rotate", "scale", "mirror")} | INTENSITY
    settings = {**off, "previous_morphology": {"p": 1.0}, "previous_removal": {"p": 1.0}}
    augment = Augmenter(settings, patch_size=size, spacing=(1.0, 1.0, 1.0), previous=1)
    moved, after = augment(image, label, torch.Generator().manual_seed(2))
    assert torch.equal(moved[:, :1], image[:, :1])
    assert torch.equal(after, label)
    assert (moved[:, 1] != image[:, 1]).any()
    again, _ = augment(image, label, torch.Generator().manual_seed(2))
    assert torch.equal(again, moved)


def test_draws_are_what_the_settings_say() -> None:
    setting = {"p": 0.4, "range": (1.0, 8.0)}
    drawn = draw_previous("previous_morphology", setting, 5000, 3, torch.Generator())
    assert len(drawn.chosen) / 5000 == pytest.approx(0.4, abs=0.03)
    assert sorted(drawn.values[:, :3].unique().tolist()) == [0.0, 1.0, 2.0, 3.0]
    assert 1.0 <= drawn.values[:, 3:].min() < 1.1
    assert 7.9 < drawn.values[:, 3:].max() <= 8.0


def test_without_an_earlier_run_nothing_is_drawn_for_it() -> None:
    augment = Augmenter({}, patch_size=(8, 8), spacing=(1.0, 1.0))
    assert not any(name.startswith("previous") for name in augment.draw(4, 1, torch.Generator()))
