"""Which patch comes next: a pure function of the seed, the patch's number and the case weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.artefacts import CaseLocations, PatchIndex, ResampledCase

Coordinates = dict[int, NDArray[np.int32]]
"""Class index to voxel coordinates, shape (n, ndim)."""


@dataclass(frozen=True, kw_only=True)
class PatchRef:
    """One drawn patch."""

    case: str
    start: tuple[int, ...]
    """First voxel on the resampled grid; negative where the patch begins outside the case."""
    foreground: int | None
    """Class index whose voxel the patch was centred on; None: drawn anywhere."""


class PatchSampler:
    """Draws patches from a set of cases.

    The case is uniform. With probability ``foreground_share`` the patch is centred on a stored
    voxel of a class drawn uniformly among those present in the case [1]_; otherwise, and where the
    case has no foreground, it lies anywhere. A patch stays inside a case that is larger than it,
    and covers a smaller one centrally.

    With ``index.balance == "dataset"`` a foreground patch's class comes first, uniform over the
    classes of all cases, and then a case that has it: a class that few cases hold is seen as often
    as one that all of them hold, and those few cases more often. Where every case has every class
    both ways are one.

    Parameters
    ----------
    index : PatchIndex
        Seed, foreground share, balance and voxel locations.
    cases : sequence of ResampledCase
        Cases to draw from: for training those of other folds.
    patch_size : sequence of int
        In voxels, one per axis; 1 along the axis of a slice-wise network.

    Raises
    ------
    ValueError
        If there is no case, or one that the index does not know.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021 (supplement, oversampling); there a
       fixed part of each batch is foreground, here each patch by chance.
    """

    def __init__(
        self, index: PatchIndex, cases: Sequence[ResampledCase], patch_size: Sequence[int]
    ) -> None:
        known = {row.id: row for row in index.locations}
        missing = [case.id for case in cases if case.id not in known]
        if not cases or missing:
            raise ValueError(f"no case to draw from, or not in the patch index: {missing}")
        self.seed, self.foreground_share = index.seed, index.foreground_share
        self.cat_max_ratio = index.cat_max_ratio
        self.patch_size = tuple(int(n) for n in patch_size)
        self._cases = [(case.id, case.grid.shape, known[case.id]) for case in cases]
        self._classes = [_present(row) for _, _, row in self._cases]
        self._holders: dict[int, list[int]] = {}  # class index to the cases that have it
        for position, classes in enumerate(self._classes):
            for chosen in classes:
                self._holders.setdefault(chosen, []).append(position)
        everywhere = all(len(found) == len(cases) for found in self._holders.values())
        self._class_first = index.balance == "dataset" and not everywhere
        self._weights: NDArray[np.float64] | None = None
        self._coordinates: dict[str, Coordinates] = {}  # filled as cases are drawn

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Draw cases by weight from now on; 1 for a case that is not named, and uniformly for {}.

        What patch ``number`` is depends on the table in force: change it between two steps, and
        for every process that draws.
        """
        self._weights = (
            np.array([weights.get(name, 1.0) for name, _, _ in self._cases]) if weights else None
        )

    def draw(self, number: int, attempt: int = 0) -> PatchRef:
        """Return patch ``number`` (0, 1, ...); the same one however often and wherever asked.

        A further ``attempt`` has the same case and class in another place.
        """
        rng = np.random.default_rng([self.seed, number])
        position, chosen = self._choose(rng)
        if attempt:
            rng = np.random.default_rng([self.seed, number, attempt])
        name, shape, locations = self._cases[position]
        low, high = self._bounds(shape)
        if chosen is None:
            start = tuple(int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
            return PatchRef(case=name, start=start, foreground=None)
        if name not in self._coordinates:
            self._coordinates[name] = read_locations(locations)
        voxels = self._coordinates[name][chosen]
        centre = voxels[int(rng.integers(len(voxels)))]
        start = tuple(
            min(max(int(v) - n // 2, a), b)
            for v, n, a, b in zip(centre, self.patch_size, low, high, strict=True)
        )
        return PatchRef(case=name, start=start, foreground=chosen)

    def case_and_class(self, number: int) -> tuple[str, int | None]:
        """Return the case and the class of `draw`, without its place: no file is read."""
        position, chosen = self._choose(np.random.default_rng([self.seed, number]))
        return self._cases[position][0], chosen

    def _choose(self, rng: np.random.Generator) -> tuple[int, int | None]:
        """Draw a case, and a class or None for a patch that lies anywhere."""
        if self._class_first and rng.random() < self.foreground_share:
            classes = sorted(self._holders)
            chosen = classes[int(rng.integers(len(classes)))]
            return self._case_of(self._holders[chosen], rng), chosen
        position = self._case_of(range(len(self._cases)), rng)
        if self._class_first or not rng.random() < self.foreground_share:
            return position, None
        present = self._classes[position]
        return position, present[int(rng.integers(len(present)))] if present else None

    def _case_of(self, positions: Sequence[int], rng: np.random.Generator) -> int:
        """Draw one of some cases, by weight where cases have weights."""
        if self._weights is None:
            return positions[int(rng.integers(len(positions)))]
        weights = self._weights[list(positions)].cumsum()
        return positions[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]

    def _bounds(self, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
        """Return the first and last start along each axis."""
        low = [-(max(n - size, 0) // 2) for n, size in zip(self.patch_size, shape, strict=True)]
        high = [max(size - n, a) for n, size, a in zip(self.patch_size, shape, low, strict=True)]
        return low, high


def _present(locations: CaseLocations) -> list[int]:
    """List the classes that a case has a voxel of."""
    return [index for index, count in sorted(locations.voxels.items()) if count]


def read_locations(locations: CaseLocations) -> Coordinates:
    """Read the stored voxel coordinates of one case."""
    with np.load(locations.file) as file:
        return {index: file[f"c{index}"] for index, count in locations.voxels.items() if count}


def sample_locations(
    label: NDArray[np.int16], seed: int, *, most: int = 10_000, share: float = 0.01
) -> tuple[dict[int, int], Coordinates]:
    """Draw voxels of each class: ``max(min(most, n), share * n)`` of its n, without repetition.

    Parameters
    ----------
    label : int16 ndarray of shape (*spatial,)
        Class indices; background and ignored voxels are not drawn.
    seed : int
    most, share
        nnU-Net's numbers by default.

    Returns
    -------
    voxels : dict
        Class index to its number of voxels in the case.
    coordinates : dict
        Class index to an int32 array (n, ndim), sorted as voxels lie in the array.
    """
    flat = np.flatnonzero(label.ravel() > 0)
    classes = label.ravel()[flat]
    by_class = flat[np.argsort(classes, kind="stable")]
    found, counts = np.unique(classes, return_counts=True)
    voxels, coordinates = {}, {}
    for index, stop, n in zip(found, counts.cumsum(), counts, strict=True):
        members = by_class[stop - n : stop]
        count = max(min(most, len(members)), int(np.ceil(share * len(members))))
        rng = np.random.default_rng([seed, int(index)])
        chosen = np.sort(rng.choice(members, size=count, replace=False))
        voxels[int(index)] = len(members)
        coordinates[int(index)] = np.stack(np.unravel_index(chosen, label.shape), axis=1).astype(
            np.int32
        )
    return voxels, coordinates
