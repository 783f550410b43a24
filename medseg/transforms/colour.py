"""Colour of photographs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in the brightness of a colour (ITU-R BT.601)."""


def jitter_colour(image: Tensor, values: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue by one matrix per image.

    Parameters
    ----------
    image : float Tensor of shape (n, 3, *spatial)
        Red, green and blue, normalised: the unit is about one standard deviation, of one size in
        the three channels.
    values : float Tensor of shape (n, 4)
        What is added, the factor around each channel's mean, the factor around grey, and the
        turn of the hue in degrees.
    """
    shift, contrast, saturation, hue = values.cpu().double().unbind(1)
    mixing = (hue_matrix(hue) @ saturation_matrix(saturation)).to(image)  # (n, 3, 3)
    mean = image.flatten(2).mean(2, keepdim=True)
    stretched = (image.flatten(2) - mean) * contrast.to(image).view(-1, 1, 1) + mean
    return (mixing @ stretched).add_(shift.to(image).view(-1, 1, 1)).view(image.shape)


def saturation_matrix(factor: Tensor) -> Tensor:
    """Return the matrices (n, 3, 3) that move colours away from their grey by ``factor`` (n,)."""
    grey = torch.tensor(LUMA, dtype=factor.dtype).expand(3, 3)  # every row gives the luma
    return torch.lerp(grey, torch.eye(3, dtype=factor.dtype), factor.view(-1, 1, 1))


def hue_matrix(degrees: Tensor) -> Tensor:
    """Return the rotations (n, 3, 3) about the grey axis by ``degrees`` (n,); 120: red to green.

    Notes
    -----
    Rodrigues' formula with the unit vector of grey; the mean of the three channels is kept.
    """
    angle = (degrees * math.pi / 180).view(-1, 1, 1)
    axis = torch.full((3, 3), 1 / 3, dtype=degrees.dtype)
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=degrees.dtype) / math.sqrt(3)
    eye = torch.eye(3, dtype=degrees.dtype)
    return angle.cos() * (eye - axis) + angle.sin() * cross + axis
