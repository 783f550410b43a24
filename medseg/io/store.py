"""Chunked, compressed arrays on disk, from which patches are read without loading the whole.

Blosc2 with ZSTD level 1 and byte shuffle: chunks of 64 voxels a side are what one read touches,
blocks of 32 are what one decompression touches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError

CHUNK, BLOCK = 64, 32
CHUNK_2D, BLOCK_2D = 512, 128
MANTISSA_BITS = 23


class Store:
    """An array on disk, opened for reading; cheap to send to another process.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        Channels first, as it was written.
    dtype : numpy dtype
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
        except (OSError, RuntimeError, ValueError) as error:
            raise FormatError(
                f"{path}: cannot be opened as a Blosc2 array ({error})",
                "delete the stage folder that holds it and run again",
            ) from error
        self.shape: tuple[int, ...] = tuple(int(n) for n in self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        return open_array, (self.path,)

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Read a half-open box over all axes, channels included.

        Raises
        ------
        ValueError
            If the box leaves the array: padding is the caller's decision.
        """
        for a, b, n in zip(start, stop, self.shape, strict=True):
            if not 0 <= a <= b <= n:
                raise ValueError(
                    f"box {tuple(start)} to {tuple(stop)} does not lie in shape {self.shape}"
                )
        box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return np.asarray(self._array[box])

    def read_all(self) -> NDArray[Any]:
        """Read the whole array."""
        return np.asarray(self._array[:])


def write_array(path: Path, array: NDArray[Any], *, max_error: float = 1e-4) -> Path:
    """Write an array as ``.b2nd``, replacing what is there.

    Parameters
    ----------
    path : Path
        Ends in ``.b2nd``.
    array : ndarray
        An image (C, *spatial) or a label (*spatial,).
    max_error : float
        Largest absolute error allowed in float32 voxels: mantissa bits below it hold noise and are
        zeroed before compression. Normalised images have unit variance, so 1e-4 is far below
        their noise; 0 keeps every bit. Integers are always exact.

    Returns
    -------
    Path
        ``path``.
    """
    array = np.ascontiguousarray(array)
    chunks, blocks = _partition(array.shape)
    filters, meta = [blosc2.Filter.SHUFFLE], [0]
    bits = _mantissa_bits(array, max_error)
    if bits < MANTISSA_BITS:
        filters, meta = [blosc2.Filter.TRUNC_PREC, *filters], [bits, *meta]
    blosc2.asarray(
        array,
        urlpath=str(path),
        mode="w",
        chunks=chunks,
        blocks=blocks,
        cparams=blosc2.CParams(
            codec=blosc2.Codec.ZSTD,
            clevel=1,
            nthreads=1,
            typesize=array.dtype.itemsize,
            filters=filters,
            filters_meta=meta,
        ),
        dparams=blosc2.DParams(nthreads=1),
    )
    return path


def open_array(path: Path) -> Store:
    """Open an array written by `write_array`; voxels are mapped, not read.

    Raises
    ------
    FormatError
        If the file is missing, cut short or something else.
    """
    return Store(path)


def _partition(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose chunk and block shapes; leading axes beyond the last three hold channels."""
    volume = len(shape) > 3 or (len(shape) == 3 and min(shape) > BLOCK // 4)
    chunk, block = (CHUNK, BLOCK) if volume else (CHUNK_2D, BLOCK_2D)
    spatial = 3 if volume else 2
    channels = (1,) * (len(shape) - spatial)
    sides = shape[len(shape) - spatial :] if len(shape) >= spatial else shape
    chunks = (*channels, *(min(chunk, max(1, n)) for n in sides))
    blocks = (*channels, *(min(block, max(1, n)) for n in sides))
    return chunks, blocks


def _mantissa_bits(array: NDArray[Any], max_error: float) -> int:
    """Return how many mantissa bits keep every voxel within ``max_error``.

    Cutting to ``b`` bits changes ``x`` by less than ``2**(exponent(x) - b)``.
    """
    if array.dtype != np.float32 or max_error <= 0 or array.size == 0:
        return MANTISSA_BITS
    largest = max(float(array.max()), -float(array.min()))
    if not np.isfinite(largest):
        return MANTISSA_BITS
    if largest <= max_error:
        return MANTISSA_BITS
    exponent = int(np.floor(np.log2(largest)))
    return int(np.clip(exponent - np.floor(np.log2(max_error)), 1, MANTISSA_BITS))
