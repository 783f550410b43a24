from __future__ import annotations

import numpy as np
import pytest

from medseg.io.contiguous import TILE, contiguous


@pytest.mark.parametrize(
    "shape", [(1, TILE[0] + 3, 2 * TILE[1], 11), (2, 3, TILE[1] + 1), (1, 4, 0, 2)]
)
@pytest.mark.parametrize("flip", [1, -1])
def test_a_copy_holds_the_same_voxels_in_c_order(shape, flip):
    data = np.asfortranarray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape))[:, ::flip]
    out = contiguous(data)
    assert out.flags.c_contiguous
    assert out.dtype == data.dtype
    np.testing.assert_array_equal(out, data)


def test_what_is_in_order_is_not_copied():
    data = np.zeros((1, 4, 4, 4), np.float32)
    assert contiguous(data) is data
