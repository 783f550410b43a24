"""Sliding window: a network that knows tiles predicts a whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.inference.precision import Precision
from medseg.inference.sweep import sweep
from medseg.inference.tiles import Layout, Places


def sliding_window(
    network: nn.Module,
    image: Tensor,
    *,
    patch_size: Sequence[int],
    overlap: float = 0.5,
    places: Places = "even",
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
    places : {"even", "steps"}
        See `medseg.inference.tiles.tile_starts`.
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
    padded, inner = pad_to_patch(image, patch_size)
    layout = Layout.of(
        padded.shape[1:], patch_size, overlap, axis=0, batch_size=batch_size, places=places
    )
    slabs = sweep(
        network,
        padded,
        layout,
        batch_size=batch_size,
        mirror_axes=mirror_axes,
        device=device,
        precision=precision,
        accumulate_on=accumulate_on,
        whole=True,
        advance=advance,
    )
    logits = next(slabs).logits
    slabs.close()  # before it drops the planes
    return logits[:, *inner]


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
