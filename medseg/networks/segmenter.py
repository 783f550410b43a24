"""Segmenter in 2-D and 3-D: a vision transformer whose classes are tokens too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV
from medseg.networks.encoders.vit import ViT
from medseg.networks.layers import Affine
from medseg.networks.transformer import Layer, init_linear, to_tokens
from medseg.registry import nearest

DECODERS = ("mask", "linear")


class Segmenter(EncoderNetwork):
    """Patches and class tokens attend to each other; their products are the class maps [1]_.

    The default is ViT-S/16: 26.0 M parameters with 150 classes in 2-D and positions for 32 x 32
    patches; B (768, 12, 12) has 102.5 M.

    Parameters
    ----------
    ndim, in_channels, num_classes : int
        Axes and channels of the image, and channels of the logits.
    decoder : {"mask", "linear"}
        Class tokens through two more layers, or one linear layer on the patches.
    decoder_depth : int
        Layers of patches and class tokens together.
    embed_dim, heads, drop_path, **arguments
        Of `medseg.networks.encoders.vit.ViT`.

    References
    ----------
    .. [1] Strudel et al., Segmenter: transformer for semantic segmentation, ICCV 2021.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        decoder: str = "mask",
        embed_dim: int = 384,
        heads: int = 6,
        decoder_depth: int = 2,
        drop_path: float = 0.1,
        **arguments: Any,
    ) -> None:
        if decoder not in DECODERS:
            raise ConfigError(
                f"network.arguments.decoder: no '{decoder}'; {nearest(decoder, DECODERS)}"
            )
        vit = ViT(
            ndim=ndim,
            in_channels=in_channels,
            embed_dim=embed_dim,
            heads=heads,
            final_norm=True,
            drop_path=drop_path,
            **arguments,
        )
        head: nn.Module = _Linear(ndim, embed_dim, num_classes)
        if decoder == "mask":
            head = _MaskDecoder(embed_dim, heads, decoder_depth, num_classes)
        super().__init__(vit, head)
        self.ndim = ndim


class _Linear(nn.Module):
    """A linear layer on every patch."""

    def __init__(self, ndim: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = CONV[ndim](channels, num_classes, 1)
        nn.init.trunc_normal_(self.classify.weight, std=0.02)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the patches' grid."""
        logits: Tensor = self.classify(maps[-1])
        return logits


class _MaskDecoder(nn.Module):
    """Class tokens beside the patches, and the cosine of each with each (section 3.2)."""

    def __init__(self, channels: int, heads: int, depth: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.project = nn.Linear(channels, channels)
        self.classes = nn.Parameter(torch.empty(1, num_classes, channels))
        self.layers = nn.Sequential(*(Layer(channels, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.of_patch = nn.Linear(channels, channels, bias=False)
        self.of_class = nn.Linear(channels, channels, bias=False)
        # over one class alone, centring would leave nothing
        alone = num_classes == 1
        self.scale = Affine(0, 1) if alone else nn.LayerNorm(num_classes)
        self.apply(init_linear)
        nn.init.trunc_normal_(self.classes, std=0.02)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the patches' grid."""
        sizes = maps[-1].shape[2:]
        x = self.project(to_tokens(maps[-1]))
        x = torch.cat((x, self.classes.expand(len(x), -1, -1).to(x.dtype)), dim=1)
        x = self.norm(self.layers(x))
        patches = functional.normalize(self.of_patch(x[:, : -self.num_classes]), dim=-1)
        classes = functional.normalize(self.of_class(x[:, -self.num_classes :]), dim=-1)
        cosines = patches @ classes.transpose(1, 2)  # (B, patches, classes)
        logits = self.scale(cosines).transpose(1, 2).unflatten(2, tuple(sizes))
        out: Tensor = logits.to(cosines.dtype)
        return out


SEGMENTERS: Mapping[str, Callable[..., nn.Module]] = {
    "segmenter": Segmenter,
    "segmenter_linear": partial(Segmenter, decoder="linear"),
}
