from __future__ import annotations

import torch

from medseg.transforms.draw import draw_around_one


def test_factors_around_one_fall_on_both_sides_equally_often():
    drawn = draw_around_one(4000, 1, 1.0, 0.7, 1.5, torch.Generator().manual_seed(0))
    values = drawn.values.flatten()
    assert abs((values < 1).float().mean().item() - 0.5) < 0.03
    assert 0.7 <= values.min() < 0.72
    assert 1.48 < values.max() <= 1.5
    below, above = values[values < 1], values[values > 1]
    assert abs(below.mean().item() - 0.85) < 0.01
    assert abs(above.mean().item() - 1.25) < 0.02


def test_a_range_beside_one_is_uniform():
    drawn = draw_around_one(4000, 1, 1.0, 1.2, 1.6, torch.Generator().manual_seed(0))
    assert drawn.values.min() >= 1.2
    assert drawn.values.max() <= 1.6
    assert abs(drawn.values.mean().item() - 1.4) < 0.01
