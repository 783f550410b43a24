"""A running average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medseg.training.task import Decay

GAMMA = 16.97
"""Power of the ``auto`` average. A weight of step s counts as s^16.97, so the average looks back
over about the last 5 % of the steps, however many there were (sigma_rel = 0.05 in [1]_)."""


def decay_at(step: int, decay: Decay) -> float:
    """Return what the average keeps of itself when it takes in the weights of ``step``.

    A number is kept as it is, except early on, where it is at most ``(1 + step) / (10 + step)`` so
    that the random start is soon forgotten. ``auto`` is (1 - 1 / step)^(GAMMA + 1) [1]_: a pure
    function of the step, right after a hundred steps and after a million, and in a resumed run.

    Parameters
    ----------
    step : int
        Number of the step, from 1.
    decay : float in (0, 1) or "auto"

    References
    ----------
    .. [1] Karras et al., Analyzing and improving the training dynamics of diffusion models,
       CVPR 2024, section 3.1 (power function EMA).

    Examples
    --------
    >>> decay_at(1, "auto"), round(decay_at(1000, "auto"), 4), round(decay_at(8, 0.999), 4)
    (0.0, 0.9822, 0.5)
    """
    if decay == "auto":
        return float((1 - 1 / step) ** (GAMMA + 1))
    return min(decay, (1 + step) / (10 + step))


class Average:
    """Exponential moving average of weights and of floating-point buffers.

    Batch norm's running mean and variance are averaged as the weights are: what they describe is
    a network that lies, to first order, where the average does. Its counters are copied.

    Parameters
    ----------
    network : nn.Module
        It is copied; the copy, `network`, holds the average.
    decay : float or "auto"
        See `decay_at`.
    """

    def __init__(self, network: nn.Module, decay: Decay) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        new = network.state_dict()
        means: list[Tensor] = []
        values: list[Tensor] = []
        for name, mean in self.network.state_dict().items():
            if mean.is_floating_point():
                means.append(mean)
                values.append(new[name])
            else:
                mean.copy_(new[name])
        torch._foreach_lerp_(means, values, 1 - decay_at(step, self.decay))
