"""Canny's edges."""

from __future__ import annotations

import pytest
import torch

from medseg.networks.context.canny import canny

STEP = torch.tensor([0.0, 0, 0, 0, 9, 9, 9, 9]).expand(1, 1, 5, 8)


def test_a_step_has_one_thin_edge_and_a_flat_image_none():
    assert canny(STEP)[0, 0].tolist() == [[0, 0, 0, 1, 0, 0, 0, 0]] * 5
    assert not canny(torch.full((1, 2, 6, 6), 3.0)).any()
    assert not canny(torch.zeros(1, 1, 1, 1)).any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_edge_turns_with_the_image(ndim):
    image = torch.zeros(1, 1, *(8,) * ndim)
    image[:, :, 4:] = 1.0
    edges = canny(image)
    assert edges.sum() == 8 ** (ndim - 1)
    assert torch.equal(canny(image.transpose(2, 3)), edges.transpose(2, 3))


def test_a_weak_edge_counts_where_it_goes_on_from_a_strong_one():
    image = torch.zeros(1, 1, 24, 16)
    image[..., 8:] = torch.linspace(1, 0.13, 24)[:, None]  # fades along the rows
    rows = canny(image, low=0.12, high=0.5)[0, 0].amax(1)
    assert rows[:22].all()
    alone = canny(image, low=0.12, high=0.5, reach=0)[0, 0].amax(1)
    assert alone[:12].all()
    assert not alone[14:].any()
    short = canny(image, low=0.12, high=0.5, reach=2)[0, 0].amax(1)
    assert short.sum() == alone.sum() + 2


def test_each_image_has_a_scale_of_its_own():
    both = canny(torch.cat((STEP, STEP / 1000)))
    assert torch.equal(both[0], both[1])
