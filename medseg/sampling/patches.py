"""Patches as a torch data set: from RAM where the cases fit, else from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol, TypedDict

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medseg.artefacts import ResampledCase
from medseg.io.store import open_array
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.sampling.sampler import PatchSampler


class Patch(TypedDict):
    """One item of `PatchDataset`."""

    image: Tensor
    """float32 (C, *patch); 0, the mean of a normalised image, outside the case."""
    label: Tensor
    """int16 (*patch); ``IGNORE_INDEX`` outside the case, so that it counts in no loss."""
    annotated: Tensor
    """bool (K + 1,): background and the labels that the case's annotation covers."""
    case: str


class _Readable(Protocol):
    """Anything that returns a box of voxels."""

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Read a half-open box over all axes."""


class _InMemory:
    """An array in RAM that reads like a store."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Return a view of a half-open box."""
        return self.array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]


class PatchDataset(Dataset[Patch]):
    """Patch ``i`` of a sampler, as tensors.

    Parameters
    ----------
    sampler : PatchSampler
        Decides where patches lie.
    cases : sequence of ResampledCase
        The sampler's cases; all annotated.
    scheme : LabelScheme
        Gives the number of labels.
    length : int
        Number of patches, from 0 on.
    margin : sequence of int, optional
        Voxels added on both sides of each axis, so that a rotation finds real voxels in the
        corners; ``image`` and ``label`` are larger by twice as much.
    memory_share : float
        Share of the free memory that the cases may take to be held in RAM, decompressed; 0 always
        reads from the store.

    Notes
    -----
    The arrays are read when the data set is made, so that forked workers share them.
    """

    def __init__(
        self,
        sampler: PatchSampler,
        cases: Sequence[ResampledCase],
        scheme: LabelScheme,
        *,
        length: int,
        margin: Sequence[int] | None = None,
        memory_share: float = 0.25,
    ) -> None:
        self.sampler, self.length = sampler, length
        self.margin = tuple(margin) if margin is not None else (0,) * len(sampler.patch_size)
        self.in_memory = _bytes(cases) < memory_share * psutil.virtual_memory().available
        self._cases = {case.id: self._open(case) for case in cases}
        self._shapes = {case.id: case.grid.shape for case in cases}
        self._annotated = {c.id: annotated_mask(c.annotated, scheme) for c in cases}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Patch:
        """Return patch ``number``."""
        ref = self.sampler.draw(number)
        image, label = self._cases[ref.case]
        shape = self._shapes[ref.case]
        start = [s - m for s, m in zip(ref.start, self.margin, strict=True)]
        size = [n + 2 * m for n, m in zip(self.sampler.patch_size, self.margin, strict=True)]
        return {
            "image": torch.from_numpy(cut(image, start, size, shape, fill=0, dtype=np.float32)),
            "label": torch.from_numpy(
                cut(label, start, size, shape, fill=IGNORE_INDEX, dtype=np.int16)
            ),
            "annotated": self._annotated[ref.case],
            "case": ref.case,
        }

    def _open(self, case: ResampledCase) -> tuple[_Readable, _Readable]:
        """Open or read one case."""
        if case.label is None:
            raise ValueError(f"case {case.id} has no annotation to train on")
        stores = open_array(case.image), open_array(case.label)
        if not self.in_memory:
            return stores
        image, label = (_InMemory(store.read_all()) for store in stores)
        return image, label


def cut(
    source: _Readable,
    start: Sequence[int],
    size: Sequence[int],
    shape: Sequence[int],
    *,
    fill: float,
    dtype: type[np.generic],
) -> NDArray[Any]:
    """Copy a box of a store, filling what lies outside.

    Parameters
    ----------
    source : store
        Of shape (*spatial,) or (C, *spatial).
    start, size : sequence of int
        Box along the spatial axes; it may leave the array, or miss it altogether.
    shape : sequence of int
        Spatial shape of the source.
    fill : float
        Value outside.
    dtype : numpy type
        Of the result.

    Returns
    -------
    ndarray of shape (*size,) or (C, *size)
    """
    low = [min(max(a, 0), n) for a, n in zip(start, shape, strict=True)]
    high = [max(min(a + s, n), lo) for a, s, n, lo in zip(start, size, shape, low, strict=True)]
    lead = _leading(source, len(shape))
    part = source.read([*(0 for _ in lead), *low], [*lead, *high])
    if [b - a for a, b in zip(low, high, strict=True)] == list(size):
        return np.array(part, dtype=dtype, order="C")
    out = np.full((*lead, *size), fill, dtype=dtype)
    inside = (slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    box: tuple[Any, ...] = (..., *inside)
    out[box] = part
    return out


def annotated_mask(annotated: Sequence[int], scheme: LabelScheme) -> Tensor:
    """Return which classes an annotation covers, as bool of shape (K + 1,) for K labels.

    Background (index 0) always counts as covered; losses look at the labels alone.

    Parameters
    ----------
    annotated : sequence of int
        Class indices.
    scheme : LabelScheme
    """
    mask = torch.zeros(len(scheme.labels) + 1, dtype=torch.bool)
    mask[[0, *annotated]] = True
    return mask


def _leading(source: Any, ndim: int) -> tuple[int, ...]:
    """Return the sizes of the axes before the spatial ones."""
    shape: tuple[int, ...] = source.array.shape if isinstance(source, _InMemory) else source.shape
    return shape[: len(shape) - ndim]


def _bytes(cases: Sequence[ResampledCase]) -> int:
    """Return the size of all cases in RAM."""
    channels: Mapping[str, int] = {c.id: open_array(c.image).shape[0] for c in cases}
    return sum(prod(c.grid.shape) * (4 * channels[c.id] + 2) for c in cases)
