"""A running average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """Exponential moving average of weights and of floating-point buffers.

    Early on the decay is ``(1 + step) / (10 + step)``, so that the random start is soon forgotten.

    Parameters
    ----------
    network : nn.Module
        It is copied; the copy, `network`, holds the average.
    decay : float
        In (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        new = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], share)
            else:
                value.copy_(new[name])
