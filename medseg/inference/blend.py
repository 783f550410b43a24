"""The planes of logits that tiles may still touch, summed with Gaussian weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medseg.inference.tiles import Layout, Tile, blending_weights

logger = logging.getLogger(__name__)

CHUNK_VALUES = 2**22
"""Of an output, weighed at a time."""


class Slab(NamedTuple):
    """Finished planes of logits, first the last plane of the slab before (but for the first slab).

    So neighbouring planes always meet in one slab, and can be interpolated.
    """

    start: int
    """First plane, along the swept axis of the image."""
    logits: Tensor
    """Shape (C, *spatial), short along the swept axis; valid until the next slab is asked for."""


class Blend:
    """The planes of logits that tiles may still touch."""

    def __init__(
        self,
        layout: Layout,
        held: int,
        device: torch.device,
        accumulate_on: torch.device | str | None,
        dtype: torch.dtype,
    ) -> None:
        self.layout, self.held, self.dtype = layout, held, dtype
        self.device, self.choose = torch.device(accumulate_on or device), accumulate_on is None
        self.base = self.passed = 0
        self.logits: Tensor | None = None
        self.weights = torch.zeros(())
        """Summed for each voxel held; 1 where the logits are divided by them."""
        self.weight = blending_weights(layout.patch)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of what is held."""
        axis, size = self.layout.axis, self.layout.size
        return (*size[:axis], self.held, *size[axis + 1 :])

    def to_host(self) -> bool:
        """Move to host memory; tell whether that freed any of the device's."""
        if self.device.type == "cpu":
            return False
        logger.warning("the device's memory is full: logits are summed in host memory from here on")
        self.device = torch.device("cpu")
        self.logits = self.logits if self.logits is None else self.logits.cpu()
        self.weights, self.weight = self.weights.cpu(), self.weight.cpu()
        return True

    def add(self, tile: Tile, output: Tensor) -> None:
        """Add a tile's logits (C, *patch)."""
        logits = self._opened(output.shape[0])
        output = output.to(self.device)
        weight, box = self.weight, self._box(tile)
        target = logits[:, *box]
        # Some planes at a time: their channels stay in the cache, whichever lies first in memory.
        step = max(1, CHUNK_VALUES // output[:, 0].numel())
        for first in range(0, len(weight), step):
            chunk = slice(first, first + step)
            target[:, chunk].addcmul_(output[:, chunk], weight[chunk])
        self.weights[*box] += weight

    def add_constant(self, tile: Tile, values: Sequence[float]) -> None:
        """Add a tile of one value per channel."""
        logits = self._opened(len(values))
        weight, box = self.weight, self._box(tile)
        for channel, value in zip(logits, values, strict=True):
            if value:
                channel[*box].add_(weight, alpha=value)
        self.weights[*box] += weight

    def like_foreground(self, *, regions: bool, within: float) -> Tensor:
        """Mark voxels of the planes held where foreground's logit wins, or is near winning."""
        assert self.logits is not None
        best = self.logits.amax(0) if regions else self.logits[1:].amax(0).sub_(self.logits[0])
        return best > -within * self.weights

    def pass_on(self, floor: int) -> Iterator[Slab]:
        """Hand on the planes below ``floor``, then drop all but the last of them."""
        if self.logits is None or floor <= self.passed:
            return
        start, axis = max(0, self.passed - 1), self.layout.axis
        new = self.weights.narrow(axis, self.passed - self.base, floor - self.passed)
        for channel in self.logits:  # one by one: float16 is divided in a float32 copy
            channel.narrow(axis, self.passed - self.base, floor - self.passed).div_(new)
        new.fill_(1)
        yield Slab(start, self.logits.narrow(axis + 1, start - self.base, floor - start))
        self.passed = floor
        self._drop()

    def _drop(self) -> None:
        """Move the planes from the last handed-on one to the front."""
        assert self.logits is not None
        shift = max(0, self.passed - 1) - self.base
        axis = self.layout.axis
        for volume, at in ((self.logits, axis + 1), (self.weights, axis)):
            planes = volume.movedim(at, 0)
            for row in range(self.held - shift):  # one by one: the two stretches overlap
                planes[row] = planes[row + shift]
            planes[self.held - shift :] = 0
        self.base += shift

    def _opened(self, channels: int) -> Tensor:
        """Return the sum; it is made when the number of classes is known."""
        if self.logits is None:
            shape = (channels, *self.shape)
            if self.choose and not _has_room(shape, self.dtype, self.device):
                self.device = torch.device("cpu")
            try:
                self.logits = torch.zeros(shape, dtype=self.dtype, device=self.device)
            except torch.OutOfMemoryError:
                if not self.to_host():
                    raise
                self.logits = torch.zeros(shape, dtype=self.dtype)
            self.weights = torch.zeros(self.shape, device=self.device)
            self.weight = self.weight.to(self.device)
        return self.logits

    def _box(self, tile: Tile) -> list[slice]:
        """Return where a tile lies in the planes held."""
        starts = list(self.layout.start(tile))
        starts[self.layout.axis] -= self.base
        return [slice(s, s + p) for s, p in zip(starts, self.layout.patch, strict=True)]


def _has_room(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether a device holds a tensor in less than half of its free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return math.prod(shape) * dtype.itemsize < free / 2
