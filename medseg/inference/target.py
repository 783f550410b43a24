"""Where a sweep's logits end: class indices and maps at full resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import CaseError
from medseg.geometry.logits import LogitsResampler
from medseg.inference.blend import Slab
from medseg.inference.clues import ClueCounter
from medseg.inference.decode import decoder, is_convex
from medseg.inference.maps import MapName, map_functions
from medseg.labels import LabelScheme


class Target:
    """Takes a sweep's planes of logits and writes what they say at full resolution.

    Parameters
    ----------
    case : str
        Id, for messages.
    scheme : LabelScheme
    inner : sequence of slice
        Where the image lies in its padding.
    axis : int
        Axis of the sweep.
    pred : int16 ndarray
        The crop's part of the class indices.
    maps : mapping
        The crop's part of each map, (channels, *shape of pred).
    coarse_axis : int, optional
        Spatial axis along which the nearest voxel is taken.
    clues : ClueCounter, optional
        Is shown the logits, at the planned spacing.
    """

    def __init__(
        self,
        case: str,
        scheme: LabelScheme,
        inner: Sequence[slice],
        axis: int,
        pred: NDArray[np.int16],
        maps: Mapping[MapName, NDArray[np.uint8]],
        coarse_axis: int | None,
        clues: ClueCounter | None = None,
    ) -> None:
        self.case, self.inner, self.axis = case, inner, axis
        self.clues, self.seen = clues, 0
        size = [part.stop - part.start for part in inner]
        order = [axis, *(a for a in range(len(size)) if a != axis)]
        count, decode = scheme.num_classes, decoder(scheme)
        self.resampler = LogitsResampler(
            [size[a] for a in order],
            [pred.shape[a] for a in order],
            pred.transpose(order),
            lambda logits: decode(logits[:count]),
            coarse_axis=None if coarse_axis is None else order.index(coarse_axis),
            convex=is_convex(scheme),
            maps=[
                (function, maps[name].transpose(0, *(a + 1 for a in order)))
                for name, function in map_functions(scheme, tuple(maps)).items()
            ],
        )

    def push(self, slab: Slab) -> None:
        """Take the next planes.

        Raises
        ------
        CaseError
            If a logit is not finite.
        """
        axis, kept = self.axis, self.inner[self.axis]
        stop = min(slab.start + slab.logits.shape[axis + 1], kept.stop)
        first = max(slab.start, kept.start)
        if first >= stop:
            return
        within = [
            slice(first - slab.start, stop - slab.start) if a == axis else part
            for a, part in enumerate(self.inner)
        ]
        planes = slab.logits[:, *within].movedim(axis + 1, 1)
        # Plane by plane: summed at once in float64, torch makes a float64 copy of all of them.
        sums = torch.stack([plane.sum(dtype=torch.float64) for plane in planes.unbind(1)])
        if not math.isfinite(float(sums.sum())):
            raise CaseError(
                self.case,
                "the network's output is not finite (NaN or infinite)",
                "look at the normalised image and the training's loss; with 16-mixed, set "
                "precision to bf16-mixed or 32-true",
            )
        if self.clues is not None:  # slabs share a plane
            self.clues.see(planes[:, max(0, self.seen - first) :])
            self.seen = stop
        self.resampler.push(first - kept.start, planes)
