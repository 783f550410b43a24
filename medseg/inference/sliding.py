"""Sliding window: a network that knows tiles predicts a whole image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.inference.precision import Precision, autocast

SIGMA_SCALE = 0.125
"""Standard deviation of the blending weights, in tile sizes."""

Tile = tuple[int, ...]


def tile_starts(size: int, patch: int, overlap: float) -> tuple[int, ...]:
    """Place tiles along one axis: as few as the overlap allows, evenly spread (nnU-Net's rule).

    There are ``ceil((size - patch) / (patch * (1 - overlap))) + 1`` tiles; the first starts at 0
    and the last ends at ``size``, so neighbours overlap by at least ``overlap``.

    Parameters
    ----------
    size, patch : int
        Voxels of the image and of a tile along the axis; ``size >= patch``.
    overlap : float
        Share of a tile that the next one covers again, in [0, 1).

    Returns
    -------
    tuple of int
        First voxel of each tile, ascending.

    Examples
    --------
    >>> tile_starts(10, 4, 0.5)
    (0, 2, 4, 6)
    >>> tile_starts(9, 4, 0.5)
    (0, 2, 3, 5)
    >>> tile_starts(3, 1, 0.5)
    (0, 1, 2)
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; it must be at least 0 and below 1")
    step = max(1.0, patch * (1 - overlap))  # a tile moves by at least one voxel
    # The small number keeps a step such as 4 * (1 - 0.7) = 1.2000000000000002 from adding a tile.
    gaps = math.ceil((size - patch) / step - 1e-9)
    return tuple(round(i * (size - patch) / gaps) for i in range(gaps + 1)) if gaps > 0 else (0,)


def gaussian(patch: int) -> Tensor:
    """Weigh the voxels of a tile along one axis: 1 at the centre, sigma = patch / 8.

    It is never zero: the outermost voxel weighs ``exp(-8 ((patch - 1) / patch)**2) > 3e-4``.

    Returns
    -------
    float64 Tensor of shape (patch,)
    """
    distance = torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2
    return torch.exp(-0.5 * (distance / (SIGMA_SCALE * patch)) ** 2)


def blending_weights(size: int, patch: int, starts: Sequence[int]) -> Tensor:
    """Weigh each tile of one axis so that the weights of all tiles over a voxel sum to one.

    Tiles stand on a product of the axes' starts and the Gaussian is a product over the axes, so
    the sum over all tiles is a product as well, and a tile's normalised weight is the outer product
    of one row per axis. No volume of weight sums is needed, nor a division at the end.

    Returns
    -------
    float32 Tensor of shape (len(starts), patch)
    """
    weights = gaussian(patch)
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + patch] += weights
    rows = [weights / total[start : start + patch] for start in starts]
    return torch.stack(rows).to(torch.float32)


@torch.no_grad()  # not inference_mode: callers may go on in place with the result
def sliding_window(
    network: nn.Module,
    image: Tensor,
    *,
    patch_size: Sequence[int],
    overlap: float = 0.5,
    batch_size: int = 1,
    mirror_axes: Sequence[int] = (),
    device: torch.device | str = "cpu",
    precision: Precision = "32-true",
    accumulate_on: torch.device | str | None = None,
    advance: Callable[[float], None] | None = None,
) -> Tensor:
    """Predict an image tile by tile and blend the logits with Gaussian weights.

    The same code serves 2-D and 3-D; a slice-wise network has a patch of 1 along one axis. An image
    smaller than the patch is padded with zeros on both sides and the result cropped back. With
    mirroring, the **logits** of all flips are averaged (before any softmax). Logits are accumulated
    in float32 whatever the precision.

    Memory: the image and ``num_classes`` float32 volumes of its (padded) size, plus
    ``batch_size`` tiles inside the network; nothing grows with the number of tiles or flips.

    Parameters
    ----------
    network : nn.Module
        Maps (B, C, *patch) to logits (B, num_classes, *patch); it is run in eval mode and left in
        the mode it came in.
    image : float Tensor of shape (C, *spatial)
        Normalised image, on any device; tiles are moved to ``device`` batch by batch.
    patch_size : sequence of int
        Tile size per spatial axis, in voxels.
    overlap : float
        Share of a tile that the next one covers again, in [0, 1).
    batch_size : int
        Tiles per forward pass.
    mirror_axes : sequence of int
        Spatial axes to flip; the network runs ``2 ** len(mirror_axes)`` times per tile.
    device : device
        Where the network runs; its parameters must be there.
    precision : str
        See `medseg.inference.precision.autocast`.
    accumulate_on : device, optional
        Where the logits are summed; None: on ``device`` where half of its free memory holds them,
        else on the CPU.
    advance : callable, optional
        Called after each batch with the share of all tiles in it (sums to 1).

    Returns
    -------
    float32 Tensor of shape (num_classes, *spatial), on the accumulating device

    Raises
    ------
    ValueError
        If the patch does not have one size per spatial axis of the image.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 2021 (tile step, Gaussian weights).
    """
    size = tuple(image.shape[1:])
    if len(patch_size) != len(size):
        raise ValueError(f"patch_size {tuple(patch_size)} has not one number per axis of {size}")
    device = torch.device(device)
    padded, inner = pad_to_patch(image, patch_size)
    starts = [tile_starts(n, p, overlap) for n, p in zip(padded.shape[1:], patch_size, strict=True)]
    weights = [
        blending_weights(n, p, s)
        for n, p, s in zip(padded.shape[1:], patch_size, starts, strict=True)
    ]
    tiles = list(itertools.product(*(range(len(s)) for s in starts)))
    logits: Tensor | None = None
    with evaluating(network), autocast(device, precision):
        for batch in _batches(tiles, batch_size):
            boxes = [_box(tile, starts, patch_size) for tile in batch]
            inputs = torch.stack([padded[:, *box] for box in boxes]).to(device)
            outputs = predict_mirrored(network, inputs, mirror_axes)
            if logits is None:
                where = accumulate_on or _roomy_device(outputs.shape[1], padded.shape[1:], device)
                logits = torch.zeros((outputs.shape[1], *padded.shape[1:]), device=where)
            for tile, box, output in zip(batch, boxes, outputs.to(logits.device), strict=True):
                logits[:, *box].addcmul_(output, _tile_weight(tile, weights).to(logits.device))
            if advance:
                advance(len(batch) / len(tiles))
    assert logits is not None  # there is always at least one tile
    return logits[:, *inner]


def predict_mirrored(network: nn.Module, inputs: Tensor, axes: Sequence[int]) -> Tensor:
    """Average a network's logits over all flips of the given spatial axes.

    Returns
    -------
    float32 Tensor of shape (B, num_classes, *patch)
    """
    flips = [
        [axis + 2 for axis in chosen]
        for count in range(len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]
    total: Tensor = network(inputs).float()
    for flip in flips[1:]:
        total = total + network(inputs.flip(flip)).float().flip(flip)  # total may be the input
    return total / len(flips) if len(flips) > 1 else total


def pad_to_patch(image: Tensor, patch_size: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad an image with zeros, evenly on both sides, to at least one patch along each axis.

    Returns
    -------
    Tensor of shape (C, *padded), tuple of slice
        The padded image, and where the image stands in it.
    """
    missing = [max(0, p - n) for n, p in zip(image.shape[1:], patch_size, strict=True)]
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, image.shape[1:], strict=True))
    if not any(missing):
        return image, inner
    widths = [w for m in reversed(missing) for w in (m // 2, m - m // 2)]  # last axis first
    return functional.pad(image, widths), inner


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


def _batches(tiles: Sequence[Tile], batch_size: int) -> Iterator[Sequence[Tile]]:
    """Cut the list of tiles into batches."""
    for first in range(0, len(tiles), batch_size):
        yield tiles[first : first + batch_size]


def _box(tile: Tile, starts: Sequence[Sequence[int]], patch_size: Sequence[int]) -> list[slice]:
    """Turn a tile's position in each axis' list of starts into slices of the image."""
    firsts = (axis[i] for i, axis in zip(tile, starts, strict=True))
    return [slice(first, first + p) for first, p in zip(firsts, patch_size, strict=True)]


def _tile_weight(tile: Tile, weights: Sequence[Tensor]) -> Tensor:
    """Multiply a tile's weights along each axis into an array of the patch's shape."""
    ndim = len(weights)
    rows = [
        axis[i].reshape([-1 if a == n else 1 for a in range(ndim)])
        for n, (i, axis) in enumerate(zip(tile, weights, strict=True))
    ]
    product = rows[0]
    for row in rows[1:]:
        product = product * row
    return product


def _roomy_device(num_classes: int, size: Sequence[int], device: torch.device) -> torch.device:
    """Choose where logits are summed: on the device if they fill less than half its free memory."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if 4 * num_classes * math.prod(size) < free / 2 else torch.device("cpu")
