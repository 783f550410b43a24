"""Run a network on tiles: in batches, and smaller batches where the memory is full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from medseg.inference.flips import predict_mirrored
from medseg.inference.precision import Precision, autocast
from medseg.inference.tiles import Layout, Tile

logger = logging.getLogger(__name__)

FULL = ("DefaultCPUAllocator", "CUDA out of memory", "STATUS_ALLOC_FAILED")
"""How torch on a CPU, CUDA, and its libraries say that memory is full."""


class Forward:
    """A network on a device, fed with the tiles of an image.

    Parameters
    ----------
    network : nn.Module
        Maps (B, C, *patch) to logits (B, num_classes, *patch).
    batch_size : int
        Tiles per forward pass; halved for good where the memory does not hold them.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: Precision,
        mirror_axes: Sequence[int] = (),
        batch_size: int = 1,
    ) -> None:
        self.network, self.device, self.precision = network, device, precision
        self.mirror_axes, self.batch_size = tuple(mirror_axes), batch_size

    def run(
        self,
        image: Tensor,
        layout: Layout,
        tiles: Sequence[Tile],
        *,
        on_full: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[Sequence[Tile], Tensor]]:
        """Yield batches of tiles with their logits (B, num_classes, *patch).

        Parameters
        ----------
        image : float Tensor of shape (C, *layout.size)
            On any device; tiles are moved batch by batch.
        on_full : callable
            Asked for memory when one tile alone does not fit; says whether it freed some.

        Raises
        ------
        torch.OutOfMemoryError
            If one tile does not fit.
        """
        first = 0
        while first < len(tiles):
            batch = tiles[first : first + self.batch_size]
            try:
                outputs = self._outputs(image, layout, batch)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._make_room(error, on_full)
                continue
            yield batch, outputs
            first += len(batch)

    def _outputs(self, image: Tensor, layout: Layout, batch: Sequence[Tile]) -> Tensor:
        """Cut a batch of tiles out of the image and run it."""
        boxes = [
            [slice(s, s + p) for s, p in zip(layout.start(tile), layout.patch, strict=True)]
            for tile in batch
        ]
        inputs = torch.stack([image[:, *box] for box in boxes]).to(self.device)
        with torch.no_grad(), autocast(self.device, self.precision):
            return predict_mirrored(self.network, inputs, self.mirror_axes)

    def _make_room(self, error: Exception, on_full: Callable[[], bool]) -> None:
        """Halve the batch, or have logits moved away; raise the error where nothing is left."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            logger.warning("memory is full: %d tiles per pass from here on", self.batch_size)
        elif not on_full():
            raise error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory is full; some libraries say it in words alone."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode; afterwards each of its modules is in the mode it came in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
