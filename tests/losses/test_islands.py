from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, label

from medseg.losses.islands import label_islands, nearest_islands, sum_per_island


def test_corners_connect():
    truth = torch.tensor([[[[1, 0, 0, 1], [0, 1, 0, 0]]]]).bool()
    assert label_islands(truth).tolist() == [[[[1, 0, 0, 2], [0, 1, 0, 0]]]]


@pytest.mark.parametrize("shape", [(9,), (1, 9), (7, 9), (8, 10), (1, 1, 9), (9, 5, 1), (5, 6, 7)])
def test_scipy_finds_the_same_components(shape):
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand((20, 2, *shape), generator=generator) < 0.3
    for mine, mask in zip(label_islands(truth).flatten(0, 1), truth.flatten(0, 1), strict=True):
        peer, count = label(mask.numpy(), structure=np.ones((3,) * mask.ndim))
        pairs = set(zip(mine.flatten().tolist(), peer.flatten().tolist(), strict=True))
        assert len(pairs) == len(mine.unique()) == len(np.unique(peer))
        assert mine.max() == count


def test_images_and_channels_do_not_touch():
    truth = torch.ones(2, 2, 3, dtype=torch.bool)
    truth[0, 1, 1] = False
    assert label_islands(truth).tolist() == [[[1, 1, 1], [1, 0, 2]], [[1, 1, 1], [1, 1, 1]]]


def test_cells_by_hand():
    row = torch.tensor([[[1, 1, 0, 0, 0, 0, 0, 1]]]).bool()
    assert nearest_islands(row).tolist() == [[[1, 1, 1, 1, 1, 2, 2, 2]]]
    assert nearest_islands(row & False).tolist() == [[[0] * 8]]
    one = torch.tensor([[[0, 1, 0]]]).bool()
    assert nearest_islands(one).tolist() == [[[1, 1, 1]]]


@pytest.mark.parametrize(
    ("shape", "spacing"), [((12, 9), (2.5, 0.7)), ((6, 7, 5), (3.0, 1.0, 0.8))]
)
def test_no_other_component_is_nearer(shape, spacing):
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand((2, 2, *shape), generator=generator) < 0.04
    cells, islands = nearest_islands(truth, spacing), label_islands(truth)
    for b in range(2):
        for c in range(2):
            assert islands[b, c].max() > 1
            parts = range(1, int(islands[b, c].max()) + 1)
            apart = torch.stack(
                [
                    torch.from_numpy(distance_transform_edt((islands[b, c] != k).numpy(), spacing))
                    for k in parts
                ]
            )
            own = apart.gather(0, cells[b, c][None] - 1)[0]
            torch.testing.assert_close(own, apart.amin(0))


def test_sums():
    values = torch.tensor([[[1.0, 2.0, 4.0]]], dtype=torch.float64)
    islands = torch.tensor([[[2, 0, 2]]])
    assert sum_per_island(values, islands, 3).tolist() == [[[2.0, 0.0, 5.0, 0.0]]]
