from __future__ import annotations

import pickle

import numpy as np
import pytest

from medseg.errors import FormatError
from medseg.io.store import open_array, write_array


@pytest.mark.parametrize(
    "shape", [(2, 70, 65, 80), (70, 65, 80), (3, 600, 530), (600, 5), (7,), (1, 1, 1, 1)]
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_boxes_are_read_back(tmp_path, shape, dtype):
    array = (100 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    store = open_array(write_array(tmp_path / "x.b2nd", array, max_error=0))
    assert (store.shape, store.dtype) == (shape, dtype)
    np.testing.assert_array_equal(store.read_all(), array)
    start, stop = tuple(n // 3 for n in shape), tuple(max(1, 2 * n // 3) for n in shape)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    np.testing.assert_array_equal(store.read(start, stop), array[box])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 3000.0])
def test_float_error_is_bounded_and_pays(tmp_path, scale):
    array = (scale * np.random.default_rng(0).standard_normal((40, 40, 40))).astype(np.float32)
    exact = write_array(tmp_path / "exact.b2nd", array, max_error=0)
    cut = write_array(tmp_path / "cut.b2nd", array)
    error = np.abs(open_array(cut).read_all() - array).max()
    assert error <= 1e-4
    if scale == 1.0:
        assert error > 0
        assert cut.stat().st_size < 0.85 * exact.stat().st_size


def test_not_finite_values_are_kept(tmp_path):
    array = np.array([np.nan, np.inf, 1.23456789], np.float32)
    np.testing.assert_array_equal(
        open_array(write_array(tmp_path / "x.b2nd", array)).read_all(), array
    )


def test_writing_replaces_and_a_store_travels_to_other_processes(tmp_path):
    path = write_array(tmp_path / "x.b2nd", np.zeros((5, 5), np.int16))
    write_array(path, np.arange(6, dtype=np.int16).reshape(2, 3))
    store = pickle.loads(pickle.dumps(open_array(path)))
    assert store.read((0, 1), (2, 3)).tolist() == [[1, 2], [4, 5]]


def test_box_outside_is_refused(tmp_path):
    store = open_array(write_array(tmp_path / "x.b2nd", np.zeros((5, 5), np.int16)))
    for start, stop in [((-1, 0), (2, 2)), ((0, 0), (6, 5)), ((3, 0), (2, 5))]:
        with pytest.raises(ValueError, match=r"does not lie in shape \(5, 5\)"):
            store.read(start, stop)


def test_missing_or_cut_store_says_what_to_do(tmp_path):
    path = write_array(tmp_path / "x.b2nd", np.random.default_rng(0).random((50, 50)))
    path.write_bytes(path.read_bytes()[:500])
    for name in ("x.b2nd", "gone.b2nd"):
        with pytest.raises(FormatError, match=rf"{name}: cannot be opened.*run again"):
            open_array(tmp_path / name)
