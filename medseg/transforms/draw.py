"""Random parameters of a batch, drawn before anything is applied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Drawn:
    """Which images of a batch a transform changes, and how; applying it draws nothing.

    Attributes
    ----------
    chosen : int64 Tensor of shape (n,)
        Positions in the batch.
    values : float32 Tensor of shape (n, k)
        Their parameters; what they mean is the transform's own.
    seed : int
        Seeds a transform that fills whole images with noise, on their device.
    """

    chosen: Tensor
    values: Tensor
    seed: int = 0


def draw_uniform(
    batch: int, columns: int, p: float, low: float, high: float, generator: torch.Generator
) -> Drawn:
    """Choose each image with probability ``p`` and draw ``columns`` values in [low, high).

    The generator moves on by the same amount whatever is chosen.
    """
    chosen = torch.rand(batch, generator=generator) < p
    values = low + (high - low) * torch.rand(batch, columns, generator=generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return Drawn(chosen.nonzero().flatten(), values[chosen], seed)


def draw_log_uniform(
    batch: int, columns: int, p: float, low: float, high: float, generator: torch.Generator
) -> Drawn:
    """Like `draw_uniform`, but uniform in the logarithm of the value, as a factor should be."""
    drawn = draw_uniform(batch, columns, p, math.log(low), math.log(high), generator)
    return Drawn(drawn.chosen, drawn.values.exp(), drawn.seed)


def draw_around_one(
    batch: int, columns: int, p: float, low: float, high: float, generator: torch.Generator
) -> Drawn:
    """Like `draw_uniform`; a range around 1 gives factors below and above 1 equally often.

    So nnU-Net draws brightness, contrast and gamma.
    """
    drawn = draw_uniform(batch, columns, p, 0.0, 2.0, generator)
    if not low < 1 < high:
        return Drawn(drawn.chosen, low + (high - low) / 2 * drawn.values, drawn.seed)
    share = drawn.values - 1  # in [-1, 1)
    return Drawn(
        drawn.chosen, 1 + torch.where(share < 0, (1 - low) * share, (high - 1) * share), drawn.seed
    )


def draw_channels(
    drawn: Drawn, p: float, neutral: float, generator: torch.Generator, batch: int
) -> Drawn:
    """Keep each channel's value with probability ``p``, else set it to ``neutral``."""
    keep = torch.rand(batch, drawn.values.shape[1], generator=generator)[drawn.chosen] < p
    values = torch.where(keep, drawn.values, torch.full_like(drawn.values, neutral))
    return Drawn(drawn.chosen, values, drawn.seed)
