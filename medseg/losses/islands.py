"""Connected components of targets, and which voxel belongs to which; no gradient, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

TINY = 1e-12
"""The least that a sum is divided by; it is met where smooth is 0 and nothing is there."""


def label_islands(truth: Tensor) -> Tensor:
    """Number the connected components of every mask, corners included.

    Parameters
    ----------
    truth : bool Tensor of shape (B, C, *spatial)

    Returns
    -------
    int64 Tensor of shape (B, C, *spatial)
        0 outside of the mask, then 1, 2, ... per image and channel.

    Examples
    --------
    >>> label_islands(torch.tensor([[[True, False, True, True]]])).tolist()
    [[[1, 0, 2, 2]]]
    """
    return _each(truth, _components)


def nearest_islands(truth: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Give each voxel the number of the component that is nearest to it: its Voronoi cell.

    Parameters
    ----------
    truth : bool Tensor of shape (B, C, *spatial)
    spacing : sequence of float, optional
        In mm, array axis order; None: 1.

    Returns
    -------
    int64 Tensor of shape (B, C, *spatial)
        1, 2, ...; 0 throughout where the mask is empty.

    Examples
    --------
    >>> nearest_islands(torch.tensor([[[True, False, False, False, True]]])).tolist()
    [[[1, 1, 1, 2, 2]]]
    """

    def number(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        islands = _components(mask)
        if islands.max() < 2:
            return np.full_like(islands, islands.max())
        nearest = ndimage.distance_transform_edt(
            ~mask, sampling=spacing, return_distances=False, return_indices=True
        )
        cells: NDArray[np.int64] = islands[tuple(nearest)]
        return cells

    return _each(truth, number)


def _each(truth: Tensor, number: Callable[[NDArray[np.bool_]], NDArray[np.int64]]) -> Tensor:
    """Apply a function of one mask to every image and channel."""
    masks = truth.detach().cpu().numpy().reshape(-1, *truth.shape[2:])
    out = np.stack([number(mask) for mask in masks]).reshape(truth.shape)
    return torch.from_numpy(out).to(truth.device)


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the components of one mask of any dimension."""
    rows = np.ascontiguousarray(mask if mask.ndim > 1 else mask[None])
    # of bool, cc3d 4.1.1 mislabels planes with an odd number of columns
    found = cc3d.connected_components(rows.view(np.uint8), connectivity=26 if rows.ndim == 3 else 8)
    return np.asarray(found, np.int64).reshape(mask.shape)


def sum_per_island(values: Tensor, islands: Tensor, count: int) -> Tensor:
    """Sum values over the voxels of each number.

    Parameters
    ----------
    values : float Tensor of shape (B, C, *spatial)
    islands : int64 Tensor of shape (B, C, *spatial)
        Numbers from 0 to ``count``.

    Returns
    -------
    float Tensor of shape (B, C, count + 1)
    """
    sums = values.new_zeros(*values.shape[:2], count + 1)
    return sums.scatter_add(2, islands.flatten(2), values.flatten(2))


def mean_per_channel(losses: Tensor, found: Tensor) -> Tensor:
    """Average over the components that there are, (B, C, n) to (B, C); 0 where there is none."""
    kept = torch.where(found, losses, losses.new_zeros(()))
    return kept.sum(2) / found.sum(2).clamp(min=1)
