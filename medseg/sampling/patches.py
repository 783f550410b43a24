"""Patches as a torch data set: from RAM where the cases fit, else from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, TypedDict

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medseg.artefacts import ResampledCase
from medseg.io.store import open_array
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.sampling.box import Readable, cut
from medseg.sampling.redraw import draw_varied
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


class _InMemory:
    """An array in RAM that reads like a store."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape: tuple[int, ...] = array.shape

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
        ref = draw_varied(self.sampler, number, self._label_of)
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

    def _label_of(self, case: str) -> tuple[Readable, tuple[int, ...]]:
        """Return where a case's label is read, and its shape."""
        return self._cases[case][1], self._shapes[case]

    def _open(self, case: ResampledCase) -> tuple[Readable, Readable]:
        """Open or read one case."""
        if case.label is None:
            raise ValueError(f"case {case.id} has no annotation to train on")
        stores = open_array(case.image), open_array(case.label)
        if not self.in_memory:
            return stores
        image, label = (_InMemory(store.read_all()) for store in stores)
        return image, label


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


def _bytes(cases: Sequence[ResampledCase]) -> int:
    """Return the size of all cases in RAM."""
    channels: Mapping[str, int] = {c.id: open_array(c.image).shape[0] for c in cases}
    return sum(prod(c.grid.shape) * (4 * channels[c.id] + 2) for c in cases)
