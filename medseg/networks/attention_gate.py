"""Additive attention gates for the skips of a U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import CONV, make_norm
from medseg.networks.unet_parts import Enlarge


class AttentionGate(nn.Module):
    """Additive attention [1]_: a weight in (0, 1) per voxel of a skip, from a coarser signal.

    ``skip * resize(sigmoid(psi(relu(w_x(skip) + w_g(gating)))))``, all three maps being 1x1
    convolutions, ``w_x`` strided onto the grid of ``gating``.

    Parameters
    ----------
    ndim : int
        2 or 3.
    channels, gating_channels : int
        Channels of the skip and of the gating signal.
    step : tuple of int
        How much finer the skip is than the gating signal, per axis.
    norm : {"none", "instance", "batch", "group"}
        Normalisation after each of the three convolutions; [1]_ has none.

    References
    ----------
    .. [1] Oktay et al., Attention U-Net: learning where to look for the pancreas, MIDL 2018,
       equations 1 and 2.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        gating_channels: int,
        *,
        step: tuple[int, ...],
        norm: str = "none",
    ) -> None:
        super().__init__()
        width = max(1, channels // 2)
        bias = norm == "none"
        conv = CONV[ndim]
        self.w_x = nn.Sequential(
            conv(channels, width, 1, step, bias=False),  # type: ignore[arg-type]
            make_norm(norm, ndim, width),
        )
        self.w_g = nn.Sequential(
            conv(gating_channels, width, 1, bias=bias), make_norm(norm, ndim, width)
        )
        self.psi = nn.Sequential(conv(width, 1, 1, bias=bias), make_norm(norm, ndim, 1))
        self.enlarge = Enlarge(step)

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Weigh ``skip`` (B, channels, *spatial) by ``gating`` (B, gating_channels, *coarse)."""
        weight = self.psi(torch.relu(self.w_x(skip) + self.w_g(gating))).sigmoid()
        out: Tensor = skip * self.enlarge(weight)
        return out


class OpenGate(nn.Module):
    """A gate that lets everything through."""

    def forward(self, skip: Tensor, _gating: Tensor) -> Tensor:
        """Return ``skip``."""
        return skip
