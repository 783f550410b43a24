"""Where tiles stand, in which order they are run, and how their voxels are weighed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SIGMA_SCALE = 0.125
"""Standard deviation of the blending weights, in tile sizes."""

LEAST_WEIGHT = 1e-3
"""Of a voxel in a tile, where the one at the centre weighs 1."""

Places = Literal["even", "steps"]
"""How tiles stand along an axis: spread evenly, as nnU-Net has them, or the overlap apart with only
the last one moved back into the image, as MONAI has them; see `tile_starts`."""

Tile = tuple[int, ...]
"""Position of a tile in each axis' list of starts."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Tiles that are decided on together; see `Layout`."""

    tiles: tuple[Tile, ...]
    optional: bool = False
    """Run only those that what has been seen so far calls for."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The tiles of an image in the order in which a sweep along one axis runs them.

    The sweep needs logits of the planes between ``floor(i)`` (no tile of group i or later begins
    below it) and the furthest end of a tile up to group i. The largest such stretch is `window`.
    """

    size: tuple[int, ...]
    patch: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    axis: int
    groups: tuple[Group, ...]

    @classmethod
    def of(
        cls,
        size: Sequence[int],
        patch: Sequence[int],
        overlap: float,
        *,
        axis: int | None = None,
        batch_size: int = 1,
        adaptive: bool = False,
        places: Places = "even",
    ) -> Layout:
        """Place tiles on an image of at least one patch along each axis.

        Parameters
        ----------
        size, patch : sequence of int
            Voxels of the image and of a tile.
        overlap : float
            Share of a tile that the next one covers again, in [0, 1).
        axis : int, optional
            Axis of the sweep; None: the one with the most tile lengths, whose window is smallest.
        batch_size : int
            Tiles per group, where tiles are not optional.
        adaptive : bool
            First tiles that cover each voxel at least once, then the others as options.
        places : {"even", "steps"}
        """
        starts = tuple(tile_starts(n, p, overlap, places) for n, p in zip(size, patch, strict=True))
        if axis is None:
            axis = max(range(len(starts)), key=lambda a: (size[a] / patch[a], -a))
        if adaptive:
            groups = tuple(_covers_and_options(starts, patch, axis))
        else:
            tiles = tuple(_along(starts, axis, range(len(starts[axis]))))
            firsts = range(0, len(tiles), batch_size)
            groups = tuple(Group(tiles=tiles[i : i + batch_size]) for i in firsts)
        return cls(size=tuple(size), patch=tuple(patch), starts=starts, axis=axis, groups=groups)

    @property
    def count(self) -> int:
        """Count the tiles, optional ones included."""
        return sum(len(group.tiles) for group in self.groups)

    def start(self, tile: Tile) -> tuple[int, ...]:
        """Return the first voxel of a tile."""
        return tuple(axis[i] for i, axis in zip(tile, self.starts, strict=True))

    def floors(self) -> tuple[int, ...]:
        """Return for each group the first plane that it or a later one may still touch."""
        lowest = [
            min(self.starts[self.axis][tile[self.axis]] for tile in group.tiles)
            for group in self.groups
        ]
        return tuple(itertools.accumulate(reversed(lowest), min))[::-1]

    @property
    def window(self) -> int:
        """Count the planes that are held at a time."""
        axis, patch = self.axis, self.patch[self.axis]
        ends = itertools.accumulate(
            (max(self.starts[axis][t[axis]] for t in g.tiles) + patch for g in self.groups), max
        )
        # Slabs repeat one plane, which is kept behind: see `medseg.inference.sweep.Slab`.
        spans = (end - max(0, floor - 1) for end, floor in zip(ends, self.floors(), strict=True))
        return min(self.size[axis], max(spans))


def tile_starts(size: int, patch: int, overlap: float, places: Places = "even") -> tuple[int, ...]:
    """Place tiles along one axis: as few as the overlap allows, evenly spread (nnU-Net's rule).

    There are ``ceil((size - patch) / (patch * (1 - overlap))) + 1`` tiles; the first starts at 0
    and the last ends at ``size``, so neighbours overlap by at least ``overlap``. With "steps" the
    others start at multiples of the step, as in MONAI where the step is a whole number.

    Parameters
    ----------
    size, patch : int
        Voxels of the image and of a tile along the axis; ``size >= patch``.
    overlap : float
        Share of a tile that the next one covers again, in [0, 1).
    places : {"even", "steps"}

    Returns
    -------
    tuple of int
        First voxel of each tile, ascending.

    Examples
    --------
    >>> tile_starts(10, 4, 0.5)
    (0, 2, 4, 6)
    >>> tile_starts(9, 4, 0.5), tile_starts(9, 4, 0.5, "steps")
    ((0, 2, 3, 5), (0, 2, 4, 5))
    >>> tile_starts(3, 1, 0.5)
    (0, 1, 2)
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; it must be at least 0 and below 1")
    step = max(1.0, patch * (1 - overlap))  # a tile moves by at least one voxel
    # The small number keeps a step such as 4 * (1 - 0.7) = 1.2000000000000002 from adding a tile.
    gaps = math.ceil((size - patch) / step - 1e-9)
    if gaps <= 0:
        return (0,)
    if places == "steps":
        return (*(math.floor(i * step + 1e-9) for i in range(gaps)), size - patch)
    return tuple(round(i * (size - patch) / gaps) for i in range(gaps + 1))


def cover(starts: Sequence[int], patch: int) -> tuple[int, ...]:
    """Choose as few of an axis' tiles as still cover every voxel.

    Returns
    -------
    tuple of int
        Positions in ``starts``.

    Examples
    --------
    >>> cover((0, 2, 4, 6), 4)
    (0, 2, 3)
    """
    chosen = [0]
    for i in range(1, len(starts)):
        last = i + 1 == len(starts)
        if last or starts[i + 1] > starts[chosen[-1]] + patch:
            chosen.append(i)
    return tuple(chosen)


def gaussian(patch: int) -> Tensor:
    """Weigh the voxels of a tile along one axis: 1 at the centre, sigma = patch / 8.

    Returns
    -------
    float64 Tensor of shape (patch,)
    """
    distance = torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2
    return torch.exp(-0.5 * (distance / (SIGMA_SCALE * patch)) ** 2)


def blending_weights(patch: Sequence[int]) -> Tensor:
    """Weigh the voxels of a tile: the product of a Gaussian along each axis, at least 1e-3.

    A voxel near a face of the image is seen from the rims of its tiles alone. Without the floor,
    which is MONAI's, the tile that lies a few voxels nearer would decide there by itself.

    Returns
    -------
    float32 Tensor of shape (*patch,)
    """
    product = torch.ones((), dtype=torch.float64)
    for size in patch:
        product = product[..., None] * gaussian(size)
    return product.clamp_(min=LEAST_WEIGHT).to(torch.float32)


def box_maxima(volume: Tensor, boxes: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """Return the maximum over each box of a product of intervals.

    Parameters
    ----------
    volume : Tensor of shape (*spatial,)
    boxes : sequence of sequence of (int, int)
        Half-open intervals per axis.

    Returns
    -------
    Tensor of shape (number of intervals per axis, ...)

    Examples
    --------
    >>> box_maxima(torch.tensor([[1, 2], [3, 0]]), [[(0, 1), (0, 2)], [(1, 2)]])
    tensor([[2],
            [2]])
    """
    for axis, intervals in enumerate(boxes):
        parts = [volume.narrow(axis, a, b - a).amax(axis) for a, b in intervals]
        volume = torch.stack(parts, dim=axis)
    return volume


def _along(starts: Sequence[Sequence[int]], axis: int, layers: Sequence[int]) -> Iterator[Tile]:
    """List the tiles of some layers, the swept axis slowest."""
    others = [range(len(s)) for a, s in enumerate(starts) if a != axis]
    for layer, *rest in itertools.product(layers, *others):
        yield (*rest[:axis], layer, *rest[axis:])


def _covers_and_options(
    starts: Sequence[Sequence[int]], patch: Sequence[int], axis: int
) -> Iterator[Group]:
    """Order the groups so that each option comes after the cover on both of its sides."""
    covers = [set(cover(s, p)) for s, p in zip(starts, patch, strict=True)]
    layers = sorted(covers[axis])

    def is_cover(tile: Tile) -> bool:
        return all(i in c for i, c in zip(tile, covers, strict=True))

    def covering(layer: int) -> Group:
        return Group(tiles=tuple(t for t in _along(starts, axis, [layer]) if is_cover(t)))

    yield covering(layers[0])
    for here, beyond in itertools.pairwise([*layers, len(starts[axis])]):
        if beyond in covers[axis]:
            yield covering(beyond)
        between = _along(starts, axis, range(here, beyond))
        options = tuple(t for t in between if not is_cover(t))
        if options:
            yield Group(tiles=options, optional=True)
