from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn import functional

from medseg.labels import IGNORE_INDEX
from medseg.transforms import sampling
from medseg.transforms.sampling import interpolate, resample, resample_axes, vote

SHAPES = pytest.mark.parametrize(
    ("source", "size"),
    [((9,), (7,)), ((9, 8), (7, 10)), ((6, 9, 8), (7, 5, 10)), ((1, 6, 5), (3, 6, 5))],
)


def places(source, size, count: int = 2, seed: int = 0) -> list[torch.Tensor]:
    """Random coordinates from 1 voxel outside to 1 voxel outside, (count, ndim, *size)."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, len(source), *size, generator=generator)
    edge = torch.tensor(source).view(1, -1, *(1,) * len(size))
    return list(unit * (edge + 1) - 1)


def readers(coordinates):
    return [lambda rows, c=c: [axis[rows].clone() for axis in c] for c in coordinates]


@SHAPES
def test_values_are_those_of_scipy(source, size):
    image = torch.randn(2, 3, *source, generator=torch.Generator().manual_seed(1))
    label = torch.randint(0, 300, (2, 1, *source), dtype=torch.int16)
    at = places(source, size)
    moved, turned = resample(image, label, readers(at), size)
    for i, coordinates in enumerate(at):
        for c in range(3):
            expected = map_coordinates(image[i, c].numpy(), coordinates, order=1, mode="nearest")
            np.testing.assert_allclose(moved[i, c], expected, atol=1e-5)
        expected = map_coordinates(
            label[i, 0].numpy(), coordinates.round(), order=0, mode="constant", cval=IGNORE_INDEX
        )
        assert np.array_equal(turned[i, 0].numpy(), expected)
    assert turned.dtype == torch.int16


@SHAPES
def test_axis_by_axis_is_at_once(source, size):
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(2, 3, *source, generator=generator)
    label = torch.randint(0, 300, (2, 1, *source), dtype=torch.int16, generator=generator)
    along = [
        torch.rand(n, generator=generator) * (extent + 1) - 1  # in no order, inside and outside
        for n, extent in zip(size, source, strict=True)
    ]
    along[-1][0] = -0.8
    grid = torch.stack(torch.meshgrid(along, indexing="ij"))
    moved, turned = resample_axes(image, label, along)
    expected = resample(image, label, readers([grid, grid]), size)
    torch.testing.assert_close(moved, expected[0], atol=1e-5, rtol=0)
    assert torch.equal(turned, expected[1])
    assert turned.dtype == torch.int16
    assert (turned[..., 0] == IGNORE_INDEX).all()


def test_interpolation_by_hand():
    image, place = torch.tensor([0.0, 10.0, 20.0]), torch.tensor([-1.0, 0.5, 1.25, 9.0])
    expected = torch.tensor([0.0, 5.0, 12.5, 20.0])
    assert torch.equal(interpolate(image, 0, place), expected)
    assert torch.equal(interpolate(image[:, None], 0, place), expected[:, None])
    assert torch.equal(interpolate(image.expand(2, 3), 1, place), expected.expand(2, 4))


def test_slabs_make_no_difference(monkeypatch):
    source, size = (8, 9, 7), (11, 6, 5)
    image, label = torch.randn(1, 1, *source), torch.randint(0, 3, (1, 2, *source))
    at = readers(places(source, size, 1))
    whole = resample(image, label, at, size)
    monkeypatch.setattr(sampling, "SLAB", 60)  # two rows at a time
    parts = resample(image, label, at, size)
    assert torch.equal(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


def test_volumes_agree_with_grid_sample():
    source, size = (8, 9, 7), (6, 10, 5)
    image, label = torch.randn(2, 2, *source), torch.randint(-1, 4, (2, 1, *source))
    at = readers(places(source, size))
    ours, theirs = (
        resample(image, label, at, size),
        sampling._by_grid(image, label, at, size),
    )
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=0)
    assert (ours[1] == theirs[1]).float().mean() > 0.995  # but for ties


def test_a_vote_by_hand():
    label = torch.tensor([[[0, 1, 2, 2, IGNORE_INDEX]]], dtype=torch.int16)
    at = readers([torch.tensor([[0.4, 0.6, 1.5, 2.5, 3.7, 9.0]])])
    turned = vote(label, at, (6,))
    assert turned.flatten().tolist() == [0, 1, 2, 2, IGNORE_INDEX, IGNORE_INDEX]
    square = torch.tensor(
        [[[[1, 2], [3, 3]]]]
    )  # 3 has 0.45 of this place, its nearest voxel has 0.33
    middle = readers([torch.tensor([[[0.45]], [[0.4]]])])
    assert vote(square, middle, (1, 1)).item() == 3
    assert resample(square.float(), square, middle, (1, 1))[1].item() == 1


@SHAPES
def test_a_vote_is_the_strongest_of_the_masks(source, size):
    label = torch.randint(0, 4, (2, 1, *source), generator=torch.Generator().manual_seed(3))
    at = [
        p.clamp(min=0).minimum(torch.tensor(source).view(-1, *(1,) * len(size)) - 1)
        for p in places(source, size)
    ]
    turned = vote(label, readers(at), size)
    masks = functional.one_hot(label[:, 0], 4).movedim(-1, 1).float()
    shares, _ = resample(masks, label, readers(at), size)
    best = shares.max(1).values
    won = shares.gather(1, turned.long())[:, 0]
    torch.testing.assert_close(won, best, atol=2e-5, rtol=0)
