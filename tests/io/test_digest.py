from __future__ import annotations

import numpy as np

from medseg.io.digest import voxel_digest


def test_digest_depends_on_values_shape_type_and_place_only():
    array = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    digest = voxel_digest(array, affine)
    assert len(digest) == 32
    assert digest == voxel_digest(np.asfortranarray(array), affine)
    assert digest == voxel_digest(array.astype(">i2"), affine)
    changed = array.copy()
    changed[0, 1, 2, 3] += 1
    others = [
        voxel_digest(changed, affine),
        voxel_digest(array.reshape(1, 3, 2, 4), affine),
        voxel_digest(array.astype(np.uint16), affine),
        voxel_digest(array, np.eye(4)),
        voxel_digest(array),
    ]
    assert len({digest, *others}) == 6
