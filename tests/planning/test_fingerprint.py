from __future__ import annotations

import numpy as np
import pytest

from medseg.geometry.volume import Grid
from medseg.planning.examine import Examined
from medseg.planning.fingerprint import take_fingerprint


def row(tmp_path, name, shape, start, stop, value):
    path = None
    if value is not None:
        path = tmp_path / f"{name}.npy"
        np.save(path, np.full((1, 5), value, dtype=np.float32))
    return Examined(
        grid=Grid.of(shape, np.diag([*(0.5,) * len(shape), 1.0])),
        orientation="RAS",
        content_start=start,
        content_stop=stop,
        label_voxels={},
        digest=name,
        image_digest=name,
        samples=path,
        sample_ranges=() if value is None else ((value, value),),
        warnings=(),
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_after_the_crop_and_the_median_ratio(tmp_path, ndim):
    rows = [
        row(tmp_path, "a", (4,) * ndim, (0,) * ndim, (4,) * ndim, 1.0),
        row(tmp_path, "b", (4,) * ndim, (1,) * ndim, (3,) * ndim, 3.0),
        row(tmp_path, "c", (4,) * ndim, (0,) * ndim, (2,) * ndim, None),
    ]
    seen = take_fingerprint(rows)
    assert seen.shapes == ((4,) * ndim, (2,) * ndim, (2,) * ndim)
    assert seen.spacings[0] == (0.5,) * ndim
    assert seen.crop_ratio == 0.5**ndim
    assert (seen.intensities[0].mean, seen.intensities[0].max) == (2.0, 3.0)


def test_no_foreground_anywhere_has_no_intensities(tmp_path):
    assert take_fingerprint([row(tmp_path, "a", (4, 4), (0, 0), (4, 4), None)]).intensities == ()
