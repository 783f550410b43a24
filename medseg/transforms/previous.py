"""Spoil the prediction of an earlier model, so that a cascade does not trust it blindly.

At training time the earlier model has cases like those it was tuned on; later it will err more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.transforms.draw import Drawn, draw_uniform

PREVIOUS = ("previous_morphology", "previous_removal")
"""Transforms of the channels that hold an earlier prediction; they change nothing else."""
OPERATIONS = 4
"""Dilation, erosion, opening, closing."""


def draw_previous(
    name: str, setting: Mapping[str, Any], batch: int, classes: int, generator: torch.Generator
) -> Drawn:
    """Draw one of `PREVIOUS`.

    Parameters
    ----------
    name : str
    setting : mapping
        ``p``; for morphology the ``range`` of the radius in voxels.
    batch, classes : int
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Drawn
        For morphology, values of shape (n, 2 * classes): the operation's number, then the radius.
        For removal (n, classes): which of the parts that may go, as a share of their number.
    """
    if name == "previous_removal":
        return draw_uniform(batch, classes, setting["p"], 0.0, 1.0, generator)
    drawn = draw_uniform(batch, 2 * classes, setting["p"], 0.0, 1.0, generator)
    low, high = setting["range"]
    drawn.values[:, :classes].mul_(OPERATIONS).floor_()
    drawn.values[:, classes:].mul_(high - low).add_(low)
    return drawn


def spoil(
    channels: Tensor,
    drawn: Mapping[str, Drawn],
    spacing: Sequence[float],
    settings: Mapping[str, Mapping[str, Any]],
) -> Tensor:
    """Return an earlier prediction as masks again, changed as drawn.

    Parameters
    ----------
    channels : float Tensor of shape (B, classes, *patch)
        One channel per class; where it was turned, its edges are between 0 and 1.
    drawn : mapping
        From `draw_previous`, by name; other transforms are passed over.
    spacing : sequence of float
        mm per voxel of each axis.
    settings : mapping
        Of all transforms.

    Returns
    -------
    float Tensor of shape (B, classes, *patch)
        0 and 1.
    """
    masks = channels > 0.5
    if "previous_morphology" in drawn:
        change_shapes(masks, drawn["previous_morphology"], spacing)
    if "previous_removal" in drawn:
        remove_parts(masks, drawn["previous_removal"], settings["previous_removal"]["share"])
    return masks.to(channels.dtype)


def change_shapes(masks: Tensor, drawn: Drawn, spacing: Sequence[float]) -> None:
    """Dilate, erode, open or close each class of the chosen images by a ball, in place.

    What a class gains, the others lose. Nothing is known outside of the patch, so erosion does not
    begin at its border.

    Parameters
    ----------
    masks : bool Tensor of shape (B, classes, *patch)
    drawn : Drawn
        From `draw_previous`.
    spacing : sequence of float
        mm per voxel of each axis. A radius of 1 is the finest spacing among the axes along which
        the patch is thicker than a voxel.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021 (augmentation of cascade inputs).
    """
    classes, size = masks.shape[1], masks.shape[2:]
    finest = min((mm for mm, n in zip(spacing, size, strict=True) if n > 1), default=1.0)
    for row, values in zip(drawn.chosen.tolist(), drawn.values.tolist(), strict=True):
        image = masks[row]
        for index in _present(image):
            old = image[index].clone()
            new = _operate(int(values[index]), old, values[classes + index] * finest, spacing)
            image &= ~(new & ~old)
            image[index] = new


def remove_parts(masks: Tensor, drawn: Drawn, share: float) -> None:
    """Remove one connected part of each class of the chosen images, in place.

    Parameters
    ----------
    masks : bool Tensor of shape (B, classes, *patch)
    drawn : Drawn
        From `draw_previous`.
    share : float
        Only parts smaller than this share of the patch may go.
    """
    from scipy import ndimage

    corners = np.ones((3,) * (masks.ndim - 2), dtype=bool)
    for row, values in zip(drawn.chosen.tolist(), drawn.values.tolist(), strict=True):
        for index in _present(masks[row]):
            mask = masks[row, index]
            parts, _ = ndimage.label(mask.cpu().numpy(), structure=corners)
            sizes = np.bincount(parts.ravel())[1:]
            small = np.flatnonzero(sizes < share * mask.numel()) + 1
            if small.size:
                gone = parts == small[int(values[index] * small.size)]
                mask &= ~torch.from_numpy(gone).to(masks.device)


def grow(mask: Tensor, radius_mm: float, spacing: Sequence[float]) -> Tensor:
    """Dilate a mask by a Euclidean ball: all voxels whose centre is within the radius of one of it.

    Parameters
    ----------
    mask : bool Tensor of shape (*spatial)
    radius_mm : float
    spacing : sequence of float
        mm per voxel of each axis.

    Notes
    -----
    The squared distance is separable: one pass along each axis takes the least of
    ``distance + step**2`` over the steps within the radius.

    References
    ----------
    .. [1] Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, Theory of
       Computing 8, 2012, section 2.1.

    Examples
    --------
    >>> grow(torch.tensor([False, False, True, False, False]), 1.0, (1.0,)).tolist()
    [False, True, True, True, False]
    """
    within = radius_mm**2 * (1 + 1e-5)
    squared = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, torch.inf)
    for axis, mm in enumerate(spacing):
        size = mask.shape[axis]
        nearest = squared.clone()
        for step in range(1, min(int(radius_mm / mm + 1e-5), size - 1) + 1):
            for here, there in ((0, step), (step, 0)):
                target = nearest.narrow(axis, here, size - step)
                source = squared.narrow(axis, there, size - step)
                torch.minimum(target, source + (step * mm) ** 2, out=target)
        squared = nearest
    return squared <= within


def _operate(number: int, mask: Tensor, radius_mm: float, spacing: Sequence[float]) -> Tensor:
    """Apply operation ``number``."""

    def shrink(one: Tensor) -> Tensor:
        return ~grow(~one, radius_mm, spacing)

    if number == 0:
        return grow(mask, radius_mm, spacing)
    if number == 1:
        return shrink(mask)
    if number == 2:
        return grow(shrink(mask), radius_mm, spacing)
    return shrink(grow(mask, radius_mm, spacing))


def _present(masks: Tensor) -> list[int]:
    """Return the classes that are there, by one question to the device."""
    return [i for i, there in enumerate(masks.flatten(1).any(dim=1).tolist()) if there]
