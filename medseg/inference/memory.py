"""What predicting a case will take, before it is begun, and how to take less.

Peak = padded image + logits held + batch x tile + blocks + results, where

- padded image: ``4 C N`` bytes for N voxels, only where the image is smaller than a tile,
- logits held: ``(b K + 4) W N / n`` for K channels of b bytes, their weights, and W planes
  (`Layout.window`) of n in all; with options another ``8 W N / n`` to choose among them,
- tile: what the network keeps alive at most in one forward pass (`activation_bytes`); with flips
  two more sets of logits,
- blocks: `BLOCKS` for what is being blended, interpolated and decoded,
- results: 2 bytes per voxel of the source, and those of the maps.

What is there before (interpreter, libraries, weights, the image itself) comes on top.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import psutil
import torch
from torch import Tensor, nn

from medseg.inference.forward import evaluating
from medseg.inference.precision import Precision, autocast
from medseg.inference.tiles import Layout

AUTO_SHARE = 0.7
"""Of the memory that is free, what ``memory: auto`` takes at most."""

BLOCKS = 2**27
"""Bytes for the blocks that are being blended, interpolated and decoded."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a prediction adds at its peak, part by part."""

    logits: int
    tile: int
    """Of one tile; a pass takes ``batch_size`` of them."""
    batch_size: int
    padded: int
    results: int
    logits_on_host: bool = False

    def on(self, device: torch.device) -> int:
        """Return the bytes on the device of the network; on a CPU that is all."""
        passing = self.batch_size * self.tile
        if device.type == "cpu":
            return self.padded + self.logits + passing + BLOCKS + self.results
        return passing + (0 if self.logits_on_host else self.logits + BLOCKS)

    def __str__(self) -> str:
        return (
            f"logits {_gb(self.logits)}, {self.batch_size} x {_gb(self.tile)} per tile, "
            f"results {_gb(self.padded + self.results)}, blocks {_gb(BLOCKS)}"
        )


@dataclass(frozen=True, kw_only=True)
class Frugality:
    """How a prediction spares memory; the fields are what is stepped down, first to last."""

    batch_size: int
    adaptive: bool
    half: bool = False
    """Sum logits in float16."""
    on_host: bool = False
    """Sum logits in host memory, where the network runs on an accelerator."""

    def thriftier(self, cuda: bool) -> Iterator[Frugality]:
        """Yield this choice and then ever thriftier ones."""
        choice = self
        yield choice
        while choice.batch_size > 1:
            choice = replace(choice, batch_size=choice.batch_size // 2)
            yield choice
        if choice.adaptive:
            choice = replace(choice, adaptive=False)
            yield choice
        if not choice.half:
            choice = replace(choice, half=True)
            yield choice
        if cuda:
            yield replace(choice, half=False, on_host=True)


def logits_bytes(layout: Layout, channels: int, dtype: torch.dtype) -> int:
    """Return the bytes of the logits that a sweep holds."""
    plane = math.prod(layout.size) // layout.size[layout.axis]
    options = any(group.optional for group in layout.groups)
    return (dtype.itemsize * channels + (12 if options else 4)) * layout.window * plane


def allowance(limit: int | None, device: torch.device) -> int:
    """Return the bytes that a prediction may still add on a device.

    Parameters
    ----------
    limit : int, optional
        Bytes that the process may have in use altogether on the device; None: `AUTO_SHARE` of
        what is free.
    """
    if device.type == "cuda":
        free, used = torch.cuda.mem_get_info(device)[0], torch.cuda.memory_allocated(device)
    else:
        free, used = psutil.virtual_memory().available, psutil.Process().memory_info().rss
    return int(AUTO_SHARE * free) if limit is None else limit - int(used)


def _gb(size: int) -> str:
    """Write bytes as GB."""
    return f"{size / 1e9:.2f} GB"


@torch.no_grad()
def activation_bytes(
    network: nn.Module,
    in_channels: int,
    patch: Sequence[int],
    device: torch.device,
    precision: Precision = "32-true",
) -> int:
    """Return the most bytes that a network keeps alive in a forward pass of one tile.

    A tile of half the size along each axis of 64 voxels or more (the whole tile where a module has
    ``fixed_size`` set, as exported graphs have) is run, the bytes of all tensors
    alive are counted, and the peak is scaled to the whole tile. One copy of the largest tensor is
    added: kernels reorder their input. Input and logits are counted.

    Parameters
    ----------
    network : nn.Module
        On ``device``.
    patch : sequence of int
        Spatial size of a tile.
    """
    fixed = any(getattr(module, "fixed_size", False) for module in network.modules())
    small = [p // 2 if p >= 64 and not fixed else p for p in patch]
    alive = _Alive()
    hooks = [
        hook
        for module in network.modules()
        if not any(module.children())
        for hook in (
            module.register_forward_pre_hook(alive.entering),
            module.register_forward_hook(alive.leaving),
        )
    ]
    try:
        with evaluating(network), autocast(device, precision):
            network(torch.zeros((1, in_channels, *small), device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return math.ceil((alive.peak + 2 * alive.largest) * math.prod(patch) / math.prod(small))


class _Alive:
    """Counts the bytes of the tensors that go into or come out of layers and are still alive."""

    def __init__(self) -> None:
        self.now = self.peak = self.largest = 0
        self._storages: set[int] = set()

    def entering(self, _: nn.Module, inputs: tuple[object, ...]) -> None:
        """Count what a layer is given: also what was made outside of layers, such as by ``cat``."""
        self._count(inputs)

    def leaving(self, _: nn.Module, __: tuple[object, ...], output: object) -> None:
        """Count what a layer returns."""
        self._count(output if isinstance(output, (tuple, list)) else (output,))

    def _count(self, values: Sequence[object]) -> None:
        """Count the tensors among some values until they are freed."""
        for tensor in values:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata in self._storages:
                    continue
                size = storage.nbytes()
                self._storages.add(storage._cdata)
                self.now += size
                self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)
                weakref.finalize(storage, self._free, storage._cdata, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        """Forget a storage."""
        self._storages.discard(key)
        self.now -= size
