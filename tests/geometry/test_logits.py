from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.geometry import logits as module
from medseg.geometry.logits import LogitsResampler, logits_to_indices
from medseg.geometry.resample import resample_label

SHAPES = [
    ((7, 9, 11), (13, 4, 11)),  # up, down, same
    ((24, 20, 6), (12, 31, 17)),
    ((3, 64, 2), (7, 10, 3)),
    ((30, 20), (17, 45)),
    ((1, 5, 6), (3, 9, 2)),  # one voxel along an axis
    ((2, 3, 4), (1, 1, 1)),
]


def strongest(block: torch.Tensor) -> torch.Tensor:
    return block.argmax(dim=0).to(torch.int16)


def whole(logits, new):
    mode = {2: "bilinear", 3: "trilinear"}[len(new)]
    return torch.nn.functional.interpolate(logits[None], size=new, mode=mode)[0]


def blobs(old, classes=4):
    """Smooth logits: large stretches of one class, and borders between them."""
    noise = torch.randn(classes, *(max(2, n // 4) for n in old), generator=generator())
    return whole(noise, old) + 0.01 * torch.randn(classes, *old, generator=generator(1))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("block", [1, 5, 64])
def test_equal_to_one_interpolation_of_the_whole(old, new, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    if block == 1 and np.prod(new) > 2000:
        monkeypatch.setattr(module, "BLOCK", 2)
    logits = torch.randn(3, *old, generator=generator())
    values = np.empty((3, *new), np.float32)
    found = np.empty(new, np.int16)
    LogitsResampler(old, new, found, strongest, maps=[(lambda x: x, values)]).push(0, logits)
    expected = whole(logits, new)
    torch.testing.assert_close(torch.from_numpy(values), expected, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(found, values.argmax(0))
    np.testing.assert_array_equal(found, expected.argmax(0))


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_blocks_of_one_class_are_known_without_interpolating(old, new, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    logits = blobs(old)
    all_blocks = logits_to_indices(logits, new, strongest)
    np.testing.assert_array_equal(
        logits_to_indices(logits, new, strongest, convex=True), all_blocks
    )


def test_only_blocks_at_a_border_are_interpolated(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    logits = torch.zeros(2, 16, 16, 16)
    logits[1] = -1
    logits[1, :8] = 1
    seen = []

    def decode(block: torch.Tensor) -> torch.Tensor:
        seen.append(block.shape)
        return strongest(block)

    found = logits_to_indices(logits, (32, 32, 32), decode, convex=True)
    np.testing.assert_array_equal(found, logits_to_indices(logits, (32, 32, 32), strongest))
    blocks = seen[1:]  # after the pass over the old voxels
    assert len(blocks) == 2 * 8 * 8  # rows 12..15 and 16..19 of 32 reach both old planes 7 and 8


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("coarse_axis", [None, 0, 1])
def test_planes_that_come_a_few_at_a_time_change_nothing(old, new, coarse_axis):
    logits = blobs(old)
    expected = logits_to_indices(logits, new, strongest, coarse_axis=coarse_axis)
    for step in (1, 3):
        found = np.full(new, -7, np.int16)
        resampler = LogitsResampler(old, new, found, strongest, coarse_axis=coarse_axis)
        for stop in [*range(1, old[0], step), old[0]]:
            first = max(0, stop - step - 1)  # again the last plane of the call before
            resampler.push(first, logits[:, first:stop])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_the_coarse_axis_logits_are_those_of_the_nearest_slice(axis):
    old, new = [6, 5, 4], [9, 8, 7]
    old[axis], new[axis] = 3, 8
    logits = torch.randn(2, *old, generator=generator()).half()
    flat = list(new)
    flat[axis] = 3
    nearest = np.floor((np.arange(8) + 0.5) * 3 / 8).astype(int)
    expected = whole(logits.float(), flat).index_select(axis + 1, torch.from_numpy(nearest))
    for convex in (False, True):
        found = logits_to_indices(logits, new, strongest, coarse_axis=axis, convex=convex)
        np.testing.assert_array_equal(found, expected.argmax(0).numpy())


def test_fewer_slices_along_the_coarse_axis_are_picked_not_blended():
    logits = torch.zeros(2, 5, 1, 1)
    logits[1, :, 0, 0] = torch.tensor([1.0, -1, 1, -1, -1])
    found = logits_to_indices(logits, (3, 1, 1), strongest, coarse_axis=0)  # slices 0, 2, 4
    assert found.ravel().tolist() == [1, 1, 0]


def test_label_and_logits_land_on_the_same_voxels():
    label = np.zeros((20, 24, 10), np.int16)
    label[6:14, 4:18, 2:7] = 1  # edges that fall between voxels of the small grid
    small = resample_label(label, (10, 12, 10))
    np.testing.assert_array_equal(small, label[::2, ::2])
    logits = torch.from_numpy(np.stack([small == 0, small == 1]).astype(np.float32))
    back = logits_to_indices(logits, label.shape, strongest)
    missed = np.argwhere(back != label)  # linear interpolation rounds the box's edges only
    assert len(missed) <= 4 * 5
    assert set(map(tuple, missed[:, :2])) <= {(6, 4), (6, 17), (13, 4), (13, 17)}


def test_shapes_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="cannot resample"):
        logits_to_indices(torch.zeros(2, 4, 4), (4, 4, 4), strongest)
