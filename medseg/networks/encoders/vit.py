"""Vision transformer (ViT): an image to maps of one size, from several depths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import per_axis
from medseg.networks.blocks import CONV
from medseg.networks.encoders.base import Encoder
from medseg.networks.transformer import Layer, Positions, init_linear, to_map, to_tokens

GRIDS = {2: 14, 3: 6}  # 224 and 96 voxels a side in patches of 16


class ViT(Encoder):
    """Patches of the image and a class token through transformer layers [1]_.

    Positions are learnt for a grid of patches and interpolated to that of the image, so any size
    goes through.

    Parameters
    ----------
    ndim, in_channels : int
        Axes and channels of the image.
    embed_dim, depth, heads : int
        Channels, layers and attention heads: 384, 12, 6 (S), 768, 12, 12 (B), 1024, 24, 16 (L).
    patch : int or sequence of int
        Side of the patches, per axis.
    grid : int or sequence of int, optional
        Patches per axis that have a position of their own. Default: 14 in 2-D and 6 in 3-D.
    take : sequence of int, optional
        Layers, counted from 0, after which a map is returned; the last one without it.
    final_norm : bool
        Normalise the tokens of the last layer.
    drop_path : float
        Probability to skip a branch in training, growing to this at the end.

    References
    ----------
    .. [1] Dosovitskiy et al., An image is worth 16x16 words: transformers for image recognition
       at scale, ICLR 2021.

    Examples
    --------
    >>> net = ViT(ndim=2, in_channels=1, embed_dim=8, depth=2, heads=2, patch=4)
    >>> [tuple(x.shape) for x in net(torch.zeros(1, 1, 8, 12))]
    [(1, 8, 2, 3)]
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        embed_dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int | Sequence[int] = 16,
        grid: int | Sequence[int] | None = None,
        take: Sequence[int] | None = None,
        final_norm: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        side = per_axis(patch, ndim, "network.arguments.patch")
        places = per_axis(GRIDS[ndim] if grid is None else grid, ndim, "network.arguments.grid")
        self.take = (depth - 1,) if take is None else tuple(take)
        if not self.take or self.take[-1] != depth - 1 or list(self.take) != sorted(set(self.take)):
            raise ConfigError(
                f"network.arguments.take is {self.take}; give layers in rising order, from 0 on, "
                f"and the last one ({depth - 1}) among them"
            )
        self.embed = CONV[ndim](in_channels, embed_dim, side, side)  # type: ignore[arg-type]
        self.token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.positions = Positions(embed_dim, places)
        self.layers = nn.ModuleList(
            Layer(embed_dim, heads, drop_path=drop_path * i / max(1, depth - 1))
            for i in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6) if final_norm else nn.Identity()
        self.channels = (embed_dim,) * len(self.take)
        self.strides = (side,) * len(self.take)
        self.kernel = tuple(3 if s > 1 else 1 for s in side)
        self.apply(init_linear)
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to maps (B, embed_dim, *spatial / patch)."""
        x = self.embed(image)
        sizes = x.shape[2:]
        x = to_tokens(x + self.positions(sizes).to(x.dtype))
        x = torch.cat((self.token.expand(len(x), -1, -1).to(x.dtype), x), dim=1)
        maps = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.take:
                y = self.norm(x) if i == len(self.layers) - 1 else x
                maps.append(to_map(y[:, 1:], sizes))
        return maps
