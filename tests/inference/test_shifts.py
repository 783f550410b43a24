"""Test-time shifts: worked by hand, and networks whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from medseg.inference.shifts import Shifted, shift_axes, shift_offsets, shiftable
from tests.inference.toys import make_plan


class EveryOther(nn.Module):
    """Answers at even places alone, as a network does that strides and never looks back."""

    def forward(self, image):
        grid = torch.zeros(image.shape[2:])
        grid[(slice(None, None, 2),) * grid.ndim] = 1
        return image * grid


def test_by_hand():
    # shifts 0, 1, -1: place 0 answers itself (7) and, moved down by one, not at all; it is pushed
    # out by -1. Place 1 answers when it is moved to 2 or to 0.
    image = torch.tensor([[[7.0, 3.0, 5.0]]])
    out = Shifted(EveryOther(), 3)(image)
    assert torch.allclose(out, torch.tensor([[[7 / 2, 2 * 3 / 3, 5 / 2]]]))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_without_strides_answers_the_same(ndim):
    image = torch.rand(2, 3, *(6, 7, 5)[:ndim])
    assert torch.allclose(Shifted(nn.Identity(), 5)(image), image)
    assert torch.allclose(Shifted(nn.Tanh(), 1)(image), image.tanh())


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_place_on_the_grid_matters_less(ndim):
    image = torch.ones(1, 1, *(12,) * ndim)
    inner = (..., *[slice(2, -2)] * ndim)

    def spread(network):
        out = network(image)[inner]
        return float(out.max() - out.min())

    assert spread(EveryOther()) == 1
    assert spread(Shifted(EveryOther(), 2)) == pytest.approx(0.5)  # the diagonal is covered
    assert spread(Shifted(EveryOther(), 4)) <= 0.5


def test_a_network_that_hands_its_input_through_leaves_it_alone():
    image = torch.rand(1, 1, 4, 4)
    before = image.clone()
    Shifted(nn.Identity(), 3)(image)
    assert torch.equal(image, before)


def test_offsets_are_short_and_differ():
    assert shift_offsets(1) == (0,)
    assert shift_offsets(5) == (0, 1, -1, 2, -2)


def test_along_some_axes_by_hand():
    """Shifted along the columns alone: each row is what a single row would be."""
    image = torch.tensor([[[7.0, 3.0, 5.0]]])
    alone = Shifted(EveryOther(), 3)(image)
    rows = torch.stack([image, image], dim=2)  # (1, 1, 2, 3)
    found = Shifted(EveryOther(), 3, axes=(1,))(rows)
    assert torch.allclose(found[0, 0, 0], alone[0, 0])
    assert found[0, 0, 1].abs().max() == 0  # every other row is never answered


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_every_axis_that_is_said_to_be_shiftable_is(count):
    """The smallest sides that are let through run; a side of 1 stays with its slice."""
    side = max(shift_offsets(count)) + 1
    assert shiftable((side, 1, side), count) == ((0, 1, 2) if side == 1 else (0, 2))
    image = torch.rand(1, 1, side, 1, side)
    axes = shiftable((side, 1, side), count)
    assert torch.allclose(Shifted(nn.Identity(), count, axes)(image), image)
    if side > 1:
        assert shiftable((side - 1,), count) == ()


def test_short_tiles_are_said_aloud_but_not_slices(caplog):
    plan = replace(make_plan(spacing=(1.0, 1.0, 1.0), patch_size=(8, 2, 1)), slice_axis=2)
    assert shift_axes(plan, 4) == (0,)
    assert "tiles of 8 x 2 x 1 are no longer than that along axis 1, so" in caplog.text
    caplog.clear()
    assert shift_axes(plan, 3) == (0, 1)
    assert not caplog.text
