"""Uneven coil sensitivity of MR images."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.transforms.fields import spline_field
from medseg.transforms.intensity import restore_moments

LATTICE = 5
"""Control points along each axis: two cells, so that the field varies over the whole patch."""


def multiply_bias_field(image: Tensor, strength: Tensor, seed: int) -> Tensor:
    """Multiply the values above the image's least one by a smooth field; mean and sd are kept.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
        Normalised, which is why the moments are restored: normalisation would do the same.
    strength : float Tensor of shape (n, 1)
        The logarithm of the field lies in ``[-strength, strength]``.
    seed : int
        Of the field, which all channels share; equal seeds give equal fields on every device.

    References
    ----------
    .. [1] Sudre et al., Longitudinal segmentation of age-related white matter hyperintensities,
       Medical Image Analysis 38, 2017 (a smooth multiplicative field; polynomial there).
    """
    size = image.shape[2:]
    generator = torch.Generator().manual_seed(seed)
    lattice = (LATTICE,) * len(size)
    control = torch.rand(len(image), *lattice, generator=generator) * 2 - 1
    control = control * strength.cpu().reshape(-1, *(1,) * len(size))
    field = spline_field(control.to(image), size).exp_().unsqueeze(1)
    low = image.flatten(2).amin(2).reshape(*image.shape[:2], *(1,) * len(size))
    return restore_moments((image - low).mul_(field), image)
