"""Global context by matrix factorisation: the hamburger."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import CONV, make_norm

SHARPNESS = 100.0
EPSILON = 1e-6


class Hamburger(nn.Module):
    """A map plus its low-rank part, found by non-negative matrix factorisation [1]_.

    Multiplicative updates run 6 times in training and 7 times in evaluation; the gradient goes
    through one more update of the coefficients alone (the one-step gradient of [1]_). The bases
    start from one draw that is kept with the weights, for the same image to give the same result;
    the authors draw them anew each time.

    Parameters
    ----------
    ndim, channels : int
    rank : int
        Number of bases.
    norm : str
        After the last convolution.

    References
    ----------
    .. [1] Geng et al., Is attention better than matrix decomposition?, ICLR 2021.
    """

    bases: Tensor

    def __init__(self, ndim: int, channels: int, *, rank: int, norm: str) -> None:
        super().__init__()
        self.lower = CONV[ndim](channels, channels, 1)
        self.upper = nn.Sequential(
            CONV[ndim](channels, channels, 1, bias=norm == "none"), make_norm(norm, ndim, channels)
        )
        self.register_buffer("bases", functional.normalize(torch.rand(channels, rank), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        bread = functional.relu(self.lower(x))
        with torch.autocast(x.device.type, enabled=False):  # quotients of small sums
            low = factorised(bread.float().flatten(2), self.bases.float(), 6 + (not self.training))
        out: Tensor = functional.relu(x + self.upper(low.to(bread.dtype).view_as(bread)))
        return out


def factorised(x: Tensor, bases: Tensor, steps: int) -> Tensor:
    """Return the product of two non-negative factors of low rank that is near ``x``.

    Parameters
    ----------
    x : float Tensor of shape (B, C, N)
        Not negative.
    bases : float Tensor of shape (C, R)
        Where the first factor starts, its columns of norm 1.
    steps : int
        Updates of both factors before the one that has a gradient.

    Returns
    -------
    float Tensor of shape (B, C, N)
    """
    still = x.detach()
    first = bases.expand(len(x), -1, -1)  # (B, C, R)
    second = (SHARPNESS * still.transpose(1, 2) @ first).softmax(-1)  # (B, N, R)
    for _ in range(steps):
        second = _updated(second, still.transpose(1, 2), first)
        first = _updated(first, still, second)
    second = _updated(second, x.transpose(1, 2), first)
    return first @ second.transpose(1, 2)


def _updated(factor: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Multiply a factor by what brings ``factor @ other.T`` nearer to ``x``."""
    return factor * (x @ other) / (factor @ (other.transpose(1, 2) @ other) + EPSILON)
