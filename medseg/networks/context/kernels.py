"""Kernels that are updated by what lies under their own masks: the rounds of K-Net."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks import CONV
from medseg.networks.transformer import Attention, mlp


class KernelUpdate(nn.Module):
    """One round: pool under the masks, update by gates, attend, make new masks (section 3.2)."""

    def __init__(self, ndim: int, channels: int, heads: int) -> None:
        super().__init__()
        self.transform = CONV[ndim](channels, channels, 1)
        self.of_group = nn.Linear(channels, 2 * channels)
        self.of_kernel = nn.Linear(channels, 2 * channels)
        self.gates = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(4))
        self.fuse = nn.Sequential(
            nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU(inplace=True)
        )
        self.attention, self.attended = Attention(channels, heads), nn.LayerNorm(channels)
        self.feed, self.fed = mlp(channels, 4 * channels, nn.ReLU), nn.LayerNorm(channels)
        self.mask = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.LayerNorm(channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
        )

    def forward(self, x: Tensor, masks: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return new masks and kernels.

        Parameters
        ----------
        x : float Tensor of shape (B, channels, *spatial)
        masks : float Tensor of shape (B, num_classes, *spatial)
            Logits.
        kernels : float Tensor of shape (B, num_classes, channels)
        """
        x = self.transform(x)
        seen = x.flatten(2)  # (B, C, N)
        given = masks.flatten(2).float()
        share = given.softmax(1) if given.shape[1] > 1 else given.sigmoid()
        share = share / share.sum(2, keepdim=True).clamp(min=1e-6)
        group = share.to(seen.dtype) @ seen.transpose(1, 2)  # (B, K, C)
        group_in, group_out = self.of_group(group).chunk(2, dim=2)
        kernel_in, kernel_out = self.of_kernel(kernels).chunk(2, dim=2)
        both = group_in * kernel_in
        keep = self.norms[0](self.gates[0](both)).sigmoid()
        take = self.norms[1](self.gates[1](both)).sigmoid()
        new = self.fuse(take * self.norms[2](group_out) + keep * self.norms[3](kernel_out))
        new = self.attended(new + self.attention(new))
        new = self.fed(new + self.feed(new))
        logits: Tensor = self.mask(new) @ seen
        return logits.view(*logits.shape[:2], *x.shape[2:]), new
