"""Values of images and labels at places between voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from medseg.labels import IGNORE_INDEX

SLAB = 2**16
"""Voxels that are worked on at a time on the CPU, so that they stay in its cache."""

TIE = 1e-5
"""Shares of two classes that differ by less are equal."""

Coordinates = Callable[[slice], list[Tensor]]
"""Rows of the output (a slice of its first axis) to their source coordinates: one float tensor of
the rows' shape per source axis, in voxels from the first voxel's centre. The tensors are the
caller's, who may change them."""


def resample(
    image: Tensor, label: Tensor, coordinates: Sequence[Coordinates], size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Read the image linearly and the label at its nearest voxel.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *source)
        Beyond its border the outermost voxels are repeated.
    label : integer Tensor of shape (n, L, *source)
        Beyond its border it is `medseg.labels.IGNORE_INDEX`.
    coordinates : sequence of n callables
        Where each image is read.
    size : sequence of int
        Shape of the output.

    Returns
    -------
    image : float Tensor of shape (n, C, *size)
    label : integer Tensor of shape (n, L, *size)

    Notes
    -----
    torch's `grid_sample` has no vector instructions for volumes on the CPU and wants its grid whole
    and interleaved; reading the eight neighbours by index is about twice as fast there.
    """
    if len(size) == 2 or (len(size) == 3 and image.is_cuda):
        return _by_grid(image, label, coordinates, size)
    moved = image.new_empty(*image.shape[:2], *size)
    turned = label.new_empty(*label.shape[:2], *size)
    rows = max(1, SLAB // max(1, prod(size[1:])))
    source = image.shape[2:]
    for i, at in enumerate(coordinates):
        values, marks = flat_image(image[i]), flat_label(label[i])
        for start in range(0, size[0], rows):
            part = slice(start, min(start + rows, size[0]))
            places = at(part)
            nearest(marks, places, source, turned[i, :, part])
            linear(values, places, source, moved[i, :, part])
    return moved, turned


def linear(image: Tensor, places: Sequence[Tensor], source: Sequence[int], out: Tensor) -> None:
    """Interpolate an image between its voxels.

    Parameters
    ----------
    image : float Tensor of shape (C, voxels)
        From `flat_image`.
    places : sequence of float Tensors of shape (*out,)
        One per axis; they are used up.
    source : sequence of int
        Shape of the image.
    out : float Tensor of shape (C, *out)
        Takes the values.
    """
    steps = []
    index = torch.zeros_like(places[0], dtype=torch.int32)
    for place, n, stride in zip(places, source, _strides(source), strict=True):
        share = place.clamp_(0, n - 1)
        index.add_(share.int(), alpha=stride)
        if n > 1:
            steps.append((stride, share.frac_().flatten()))
    at = index.flatten()
    for target, values in zip(out, image, strict=True):
        target.copy_(_between(values, at, steps).view(index.shape))


def _between(values: Tensor, at: Tensor, steps: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Interpolate from ``at`` along each axis: how far its neighbour lies, and what it weighs."""
    if not steps:
        return values.index_select(0, at)
    (stride, share), *others = steps
    return _between(values, at, others).lerp_(_between(values[stride:], at, others), share)


def nearest(label: Tensor, places: Sequence[Tensor], source: Sequence[int], out: Tensor) -> None:
    """Read a label at its nearest voxels.

    Parameters
    ----------
    label : integer Tensor of shape (L, voxels)
        From `flat_label`.
    places : sequence of float Tensors of shape (*out,)
        One per axis.
    source : sequence of int
        Shape of the label before it was framed.
    out : integer Tensor of shape (L, *out)
        Takes the values.
    """
    strides = _strides([n + 2 for n in source])
    first = sum(strides)  # the voxel at 0, 0, 0
    index = torch.full_like(places[0], first, dtype=torch.int32)
    for place, n, stride in zip(places, source, strides, strict=True):
        index.add_(place.round().clamp_(-1, n).int(), alpha=stride)
    at = index.flatten()
    for target, values in zip(out, label, strict=True):
        target.copy_(values.index_select(0, at).view(index.shape))


def resample_axes(image: Tensor, label: Tensor, places: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Like `resample`, each axis read by itself: what a scaling without a rotation needs.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *source)
    label : integer Tensor of shape (n, L, *source)
    places : sequence of 1-D float Tensors
        Source coordinates along each axis, the same for all images.
    """
    for axis in range(2, image.ndim):
        image = interpolate(image, axis, places[axis - 2])
        label = _nearest_along(label, axis, places[axis - 2])
    return image, label


def interpolate(image: Tensor, axis: int, place: Tensor) -> Tensor:
    """Read an image linearly along one axis; beyond its border the outermost voxels are repeated.

    Parameters
    ----------
    image : float Tensor
    axis : int
    place : float Tensor of shape (size,)
        Source coordinates.
    """
    if axis == image.ndim - 1 > 0:  # steps of one voxel are slow: twice as fast turned and back
        return interpolate(_turned(image), axis - 1, place).transpose(-1, -2)
    last = image.shape[axis] - 1
    place = place.clamp(0, last)
    low = place.int()
    high = (low + 1).clamp(max=last)
    before, after = (image.index_select(axis, at.to(image.device)) for at in (low, high))
    weight = (place - low).to(image).reshape(-1, *(1,) * (image.ndim - 1 - axis))
    return before.lerp_(after, weight)


def _nearest_along(label: Tensor, axis: int, place: Tensor) -> Tensor:
    """Read a label at its nearest voxels along one axis; beyond it is ``IGNORE_INDEX``."""
    if axis == label.ndim - 1:  # as in `interpolate`
        return _nearest_along(_turned(label), axis - 1, place).transpose(-1, -2)
    index, last = place.round(), label.shape[axis] - 1
    beyond = ((index < 0) | (index > last)).nonzero().flatten()
    read = label.index_select(axis, index.clamp(0, last).int().to(label.device))
    return read.index_fill_(axis, beyond.to(label.device), IGNORE_INDEX)


def _turned(tensor: Tensor) -> Tensor:
    """Copy a tensor with its last two axes exchanged."""
    return tensor.transpose(-1, -2).contiguous()


def flat_image(image: Tensor) -> Tensor:
    """Flatten an image (C, *source) and let it end in zeros.

    The last voxel along an axis has a neighbour then, which weighs nothing.
    """
    beyond = image.new_zeros(len(image), sum(_strides(image.shape[1:])))
    return torch.cat([image.flatten(1), beyond], dim=1)


def flat_label(label: Tensor) -> Tensor:
    """Flatten a label (L, *source) with a frame of ``IGNORE_INDEX`` around it."""
    frame = (1, 1) * (label.ndim - 1)
    return functional.pad(label, frame, value=IGNORE_INDEX).flatten(1)


def vote(label: Tensor, coordinates: Sequence[Coordinates], size: Sequence[int]) -> Tensor:
    """Resample a label class by class, linearly; the strongest class wins.

    Parameters
    ----------
    label : integer Tensor of shape (n, L, *source)
    coordinates, size
        As in `resample`.

    Returns
    -------
    integer Tensor of shape (n, L, *size)
        Between equals the nearest voxel decides; outside it is `medseg.labels.IGNORE_INDEX`.
    """
    best, winner = torch.zeros(0), label
    for value in torch.unique(label).tolist():
        share, nearby = resample((label == value).float(), label, coordinates, size)
        if winner is label:
            best, winner = share, torch.full_like(nearby, value)
        tied = (share - best).abs() <= TIE
        stronger = (share > best + TIE) | (tied & (nearby == value))
        winner = winner.masked_fill(stronger, value)
        best = torch.maximum(best, share)
    _, inside = resample(
        torch.zeros_like(label).float(), torch.zeros_like(label), coordinates, size
    )
    return torch.where(inside == IGNORE_INDEX, inside, winner)


def _by_grid(
    image: Tensor, label: Tensor, coordinates: Sequence[Coordinates], size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Resample a batch by `grid_sample`."""
    source = image.shape[2:]
    grids = []
    for at in coordinates:
        places = at(slice(0, size[0]))
        unit = [(p * 2 + (1 - n)) / n for p, n in zip(places, source, strict=True)]
        grids.append(torch.stack(unit[::-1], dim=-1))  # grid_sample wants the last axis first
    grid = torch.stack(grids)
    moved = functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    # Padding with zeros one above IGNORE_INDEX makes what comes from outside IGNORE_INDEX.
    shifted = (label - IGNORE_INDEX).to(image.dtype)
    turned = functional.grid_sample(
        shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved, turned.round().to(label.dtype) + IGNORE_INDEX


def _strides(source: Sequence[int]) -> list[int]:
    """Return how far apart neighbours along each axis lie in a contiguous array."""
    return [prod(source[axis + 1 :]) for axis in range(len(source))]
