"""Points of a map: which are uncertain, where they lie, what the map is there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

OVERSAMPLE = 3
UNCERTAIN = 0.75


def uncertainty(logits: Tensor) -> Tensor:
    """Return how near (B, voxels) the two best classes are, or the only one is to zero."""
    scores = logits.flatten(2).float()
    if scores.shape[1] == 1:
        return -scores[:, 0].abs()
    best = scores.topk(2, dim=1).values
    return best[:, 1] - best[:, 0]


def draw_points(logits: Tensor, count: int) -> Tensor:
    """Draw voxels without repetition: most of them uncertain, the others anywhere.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    count : int

    Returns
    -------
    int64 Tensor of shape (B, min(count, voxels))
        Voxels, numbered in order of memory.
    """
    doubt = uncertainty(logits.detach())
    voxels = doubt.shape[1]
    total = min(count, voxels)
    certain = total - int(UNCERTAIN * total)
    order = torch.rand_like(doubt)
    chosen = order.topk(min(OVERSAMPLE * total, voxels)).indices
    best = doubt.gather(1, chosen).topk(total - certain).indices
    uncertain = chosen.gather(1, best)
    rest = order.scatter(1, uncertain, -1.0).topk(certain, largest=True).indices
    return torch.cat((uncertain, rest), dim=1)


def coordinates(places: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the centres (B, P, axes) of voxels in [-1, 1], last axis first."""
    along = []
    for size in reversed(sizes):
        along.append((2 * (places % size) + 1) / size - 1)
        places = places // size
    return torch.stack(along, dim=2)


def sample(x: Tensor, where: Tensor) -> Tensor:
    """Interpolate a map (B, C, *spatial) linearly at points (B, P, axes); return (B, P, C)."""
    axes = where.shape[2]
    grid = where.to(x.dtype).reshape(*where.shape[:2], *(1,) * (axes - 1), axes)
    taken = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return taken.flatten(2).transpose(1, 2)
