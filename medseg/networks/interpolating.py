"""Learnt upsampling that starts as linear interpolation."""

from __future__ import annotations

import torch
from torch import nn

from medseg.networks.blocks import TRANSPOSED
from medseg.networks.encoders.base import Axes


def interpolating(ndim: int, channels: int, factor: Axes) -> nn.Module:
    """Return a transposed convolution that starts as linear interpolation of each channel.

    Its kernel is ``2 * factor - factor % 2``; with that every output sees the same number of
    inputs, so there is no checkerboard.
    """
    kernel = tuple(2 * f - f % 2 for f in factor)
    margin = tuple(f // 2 for f in factor)
    up = TRANSPOSED[ndim](channels, channels, kernel, factor, margin, bias=False)  # type: ignore[arg-type]
    weight = torch.ones(())
    for f, k in zip(factor, kernel, strict=True):
        along = 1 - (torch.arange(k) - (k - 1) / 2).abs() / f
        weight = weight[..., None] * along
    with torch.no_grad():
        up.weight.zero_()
        for c in range(channels):
            up.weight[c, c] = weight
    return up
