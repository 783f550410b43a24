from __future__ import annotations

import pytest

from medseg.errors import ConfigError
from medseg.networks.arguments import (
    check_levels,
    divisor_of,
    level_geometry,
    odd_kernel,
    per_axis,
    per_level,
    window_steps,
)


def test_per_axis_takes_a_number_or_a_tuple():
    assert per_axis(2, 3, "x") == (2, 2, 2)
    assert per_axis((1, 2), 2, "x") == (1, 2)


def test_defaults_and_given_values_of_each_level():
    steps, kernels = level_geometry((4, 8, 8), None, None, 2)
    assert steps == ((1, 1), (2, 2), (2, 2))
    assert kernels == ((3, 3),) * 3
    assert divisor_of(steps) == (4, 4)
    steps, kernels = level_geometry((4, 8), (1, (2, 2, 1)), (3, (3, 3, 1)), 3)
    assert steps == ((1, 1, 1), (2, 2, 1))
    assert kernels == ((3, 3, 3), (3, 3, 1))
    assert level_geometry((4,), None, None, 3, kernel=5) == (((1, 1, 1),), ((5, 5, 5),))


def test_windows_have_no_first_level():
    assert window_steps(None, 2, 3) == ((2, 2, 2),) * 2
    assert window_steps((2, (1, 2)), 2, 2) == ((2, 2), (1, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: per_axis((2, 2), 3, "network.x"), r"network\.x.*one per axis \(3\)"),
        (lambda: per_axis(0, 2, "network.x"), "must be a positive integer"),
        (lambda: per_level((1, 2), 3, "network.x"), r"one per level \(3\)"),
        (lambda: check_levels(()), "one positive integer or more"),
        (lambda: check_levels((8, 0)), "one positive integer or more"),
        (lambda: level_geometry((4, 8), (2, 2), None, 2), "first level's stride is 1"),
        (lambda: level_geometry((4, 8), None, (3, 2), 2), "kernels must be odd"),
        (lambda: level_geometry((4, 8), None, (3,), 2), "1 entries for 2 levels"),
        (lambda: window_steps((2, 2), 3, 2), r"strides has 2 entries.*halves 3 times"),
        (lambda: odd_kernel((3, 2), 2), "kernels must be odd"),
    ],
)
def test_mistakes_are_explained(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
