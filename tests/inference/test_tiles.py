from __future__ import annotations

import itertools

import pytest
import torch

from medseg.inference.tiles import Layout, box_maxima, cover, tile_starts

SIZES = [((9,), (4,)), ((10, 7), (4, 3)), ((11, 23, 9), (4, 5, 9)), ((6, 5, 4), (2, 5, 1))]


@pytest.mark.parametrize(("size", "patch"), SIZES)
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_tile_has_one_place_in_the_order(size, patch, adaptive, batch_size):
    layout = Layout.of(size, patch, 0.5, batch_size=batch_size, adaptive=adaptive)
    listed = [tile for group in layout.groups for tile in group.tiles]
    wanted = itertools.product(
        *(range(len(tile_starts(n, p, 0.5))) for n, p in zip(size, patch, strict=True))
    )
    assert sorted(listed) == sorted(wanted)
    assert layout.count == len(listed)


@pytest.mark.parametrize(("size", "patch"), SIZES)
def test_what_must_run_covers_every_voxel(size, patch):
    layout = Layout.of(size, patch, 0.5, adaptive=True)
    seen = torch.zeros(size)
    for tile in (t for g in layout.groups if not g.optional for t in g.tiles):
        seen[tuple(slice(s, s + p) for s, p in zip(layout.start(tile), patch, strict=True))] = 1
    assert seen.all()


def test_the_window_by_hand():
    """Tiles of 4 at 0, 2, 4, 6 of 10: before the one at 4, planes 3 to 7 are held."""
    layout = Layout.of((10,), (4,), 0.5)
    assert layout.floors() == (0, 2, 4, 6)
    assert layout.window == 5  # four planes of a tile and the last one handed on
    assert Layout.of((10,), (4,), 0.5, batch_size=2).window == 7  # 4 and 6 at once: 3 to 9
    # Covers stand at 0, 4 and 6. The option at 2 comes after the cover at 4: planes 1 to 7. On a
    # square, options beside the cover at 0 come after it too: planes 0 to 7.
    assert Layout.of((10,), (4,), 0.5, adaptive=True).window == 7
    assert Layout.of((10, 10), (4, 4), 0.5, axis=0, adaptive=True).window == 8
    assert Layout.of((4,), (4,), 0.5).window == 4


def test_the_sweep_goes_along_the_axis_with_the_smallest_window():
    assert Layout.of((40, 90, 60), (20, 20, 20), 0.5).axis == 1
    assert Layout.of((40, 40, 40), (20, 20, 20), 0.5).axis == 0
    assert Layout.of((40, 90, 60), (20, 90, 20), 0.5).axis == 2
    assert Layout.of((40, 90, 60), (20, 20, 20), 0.5, axis=0).axis == 0


def test_cover_leaves_no_gap():
    for size, patch, overlap in itertools.product(range(5, 40), (1, 2, 3, 5), (0, 0.25, 0.5, 0.8)):
        starts = tile_starts(size, patch, overlap)
        chosen = [starts[i] for i in cover(starts, patch)]
        assert chosen[0] == 0
        assert chosen[-1] == size - patch
        assert all(b - a <= patch for a, b in itertools.pairwise(chosen))


def test_box_maxima_agree_with_slicing():
    volume = torch.randn(7, 8, 9, generator=torch.Generator().manual_seed(0))
    boxes = [[(0, 3), (2, 7)], [(0, 8)], [(1, 2), (3, 9), (0, 9)]]
    found = box_maxima(volume, boxes)
    assert found.shape == (2, 1, 3)
    for i, j, k in itertools.product(range(2), range(1), range(3)):
        (a, b), (c, d), (e, f) = boxes[0][i], boxes[1][j], boxes[2][k]
        assert found[i, j, k] == volume[a:b, c:d, e:f].max()
