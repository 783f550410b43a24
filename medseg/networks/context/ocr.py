"""Object-contextual representations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.layers import ConvNormAct


class ObjectContext(nn.Module):
    """Describe each class by the voxels that likely show it; add to each voxel what it resembles.

    Parameters
    ----------
    ndim, channels : int
    inner : int
        Channels of queries, keys and values.
    norm : str
        Of all units; those on the few object vectors need no more than one class or case.

    References
    ----------
    .. [1] Yuan, Chen and Wang, Object-contextual representations for semantic segmentation,
       ECCV 2020, equations 2 to 5.
    """

    def __init__(self, ndim: int, channels: int, *, inner: int, norm: str) -> None:
        super().__init__()
        one = (1,) * ndim

        def unit(given: int, made: int) -> ConvNormAct:
            return ConvNormAct(ndim, given, made, kernel=one, norm=norm)

        self.query = nn.Sequential(unit(channels, inner), unit(inner, inner))
        self.key = nn.Sequential(unit(channels, inner), unit(inner, inner))
        self.value = unit(channels, inner)
        self.spread = unit(inner, channels)
        self.fuse = unit(2 * channels, channels)
        self.thin = (1,) * (ndim - 1)

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        """Map (B, C, *spatial) and coarse logits (B, K, *spatial) to (B, C, *spatial)."""
        voxels, shares = x.flatten(2), logits.flatten(2).softmax(dim=-1)  # (B, C, N), (B, K, N)
        objects = voxels.to(shares.dtype) @ shares.transpose(1, 2)  # (B, C, K)
        objects = objects.reshape(*objects.shape, *self.thin).to(x.dtype)
        query = self.query(x).flatten(2)  # (B, inner, N)
        key, value = self.key(objects).flatten(2), self.value(objects).flatten(2)  # (B, inner, K)
        relation = (query.transpose(1, 2) @ key * key.shape[1] ** -0.5).softmax(dim=-1)  # (B, N, K)
        context = value @ relation.to(value.dtype).transpose(1, 2)  # (B, inner, N)
        seen = self.spread(context.reshape(*context.shape[:2], *x.shape[2:]))
        out: Tensor = self.fuse(torch.cat((seen, x), dim=1))
        return out
