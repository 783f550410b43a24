"""Weight maps for the narrow gaps between instances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cc3d
import numpy as np
import torch
from torch import Tensor

from medseg.geometry.edt import edt_squared
from medseg.losses.distance_target import axis_sizes

NEGLIGIBLE = 1e-9
"""Border weights below this are taken for 0: it bounds how far an instance is looked for."""


def border_weight_map(
    instances: Tensor,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
) -> Tensor:
    """Return w0 exp(-(d1 + d2)² / (2 sigma²)) on the background, 0 on the instances [1]_.

    d1 and d2 are the distances, between voxel centres, to the nearest and the second nearest
    instance; with fewer than two instances the map is 0. The map is one per image and is meant to
    be made once, by the loader. It takes one distance transform per instance, of its surroundings,
    and two running minima, so memory does not grow with the number of instances.

    Parameters
    ----------
    instances : integer Tensor of shape (*spatial,)
        A number above 0 for each instance; everything else is background.
    w0 : float
        Weight where two instances all but touch.
    sigma : float
        In voxels; in mm if ``spacing`` is given.
    spacing : sequence of float, optional
        Voxel size in mm, in array axis order. None: 1 along each axis.

    Returns
    -------
    float32 Tensor of shape (*spatial,)
        The border term; add the class weight (1, or w_c) for the weight of a voxel.

    References
    ----------
    .. [1] Ronneberger et al., U-Net, MICCAI 2015, eq. 2 (eq. 1 lacks the minus sign).

    Examples
    --------
    >>> border_weight_map(torch.tensor([1, 1, 0, 0, 2])).tolist()
    [0.0, 0.0, 8.352702140808105, 8.352702140808105, 0.0]
    """
    size = axis_sizes(spacing, instances.ndim)
    nearest = torch.full(instances.shape, math.inf, device=instances.device)
    second = nearest.clone()
    reach = sigma * math.sqrt(2 * math.log(max(w0 / NEGLIGIBLE, 1.0)))
    for number, box in _boxes(instances, [math.ceil(reach / s) for s in size]):
        distance = edt_squared(instances[box] != number, size).sqrt()
        first = nearest[box]
        second[box] = torch.minimum(second[box], torch.maximum(first, distance))
        nearest[box] = torch.minimum(first, distance)
    border = w0 * torch.exp(-(nearest + second).square() / (2 * sigma**2))
    return border.masked_fill(instances > 0, 0.0)


def _boxes(instances: Tensor, margin: Sequence[int]) -> list[tuple[int, tuple[slice, ...]]]:
    """Return the number of each instance and its bounding box, widened by a margin in voxels."""
    inside = instances > 0
    where = inside.nonzero()
    numbers, which = torch.unique(instances[inside], return_inverse=True)
    which = which[:, None].expand_as(where)
    start = where.new_zeros(len(numbers), instances.ndim)
    low = start.scatter_reduce(0, which, where, "amin", include_self=False)
    high = start.scatter_reduce(0, which, where, "amax", include_self=False)
    bounds = zip(numbers.tolist(), low.tolist(), high.tolist(), strict=True)
    return [
        (n, tuple(slice(max(0, a - m), b + m + 1) for a, b, m in zip(lo, hi, margin, strict=True)))
        for n, lo, hi in bounds
    ]


def label_instances(label: Tensor) -> Tensor:
    """Number the connected components (8 or 26 neighbours) of each class of one image.

    Parameters
    ----------
    label : integer or bool Tensor of shape (*spatial,), 1-D to 3-D
        Class indices; 0 and what is ignored are background. It is worked on in host memory.

    Returns
    -------
    int64 Tensor of shape (*spatial,)
        1..n, 0 on the background.

    Examples
    --------
    >>> label_instances(torch.tensor([1, 1, 2, 0, 1])).tolist()
    [1, 1, 2, 0, 3]
    """
    array = np.ascontiguousarray(label.to("cpu", torch.int32).clamp(min=0).numpy())
    array = array[None] if array.ndim == 1 else array
    parts = cc3d.connected_components(array, connectivity=8 if array.ndim == 2 else 26)
    numbers = torch.from_numpy(parts.astype(np.int64)).reshape(label.shape)
    return numbers.to(label.device)
