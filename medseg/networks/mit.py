"""Mix Transformer (MiT): the hierarchical encoder of SegFormer, in 2-D and 3-D."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks.arguments import level_axes, per_level
from medseg.networks.blocks import CONV


class MiT(nn.Module):
    """Mix Transformer [1]_: overlapping patches, attention over reduced keys, no positions.

    Maps are kept with the channels last between the stages, (B, *spatial, C), so that linear
    layers and layer norms act on them as they are.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels : int
        Channels of the image.
    widths, depths, heads : sequence of int
        Channels, blocks and attention heads of each stage, finest first.
    strides : sequence of (int or tuple of int), optional
        How each stage is smaller than the one above, per axis. The kernel of the patches is twice
        the stride less one: 7 for 4 and 3 for 2, as published. Default: 4, then 2s.
    reductions : sequence of (int or tuple of int), optional
        By how much keys and values are shrunk in each stage (SR ratio), per axis. Default: powers
        of 2 that end with 1; 8, 4, 2, 1 for four stages.
    expansion : int
        Hidden channels of the Mix-FFN, as a multiple of its input.
    drop_path : float
        Probability to skip a branch in training (stochastic depth), growing to this at the end.

    Attributes
    ----------
    divisor : tuple of int
        The size of the image is to be a multiple of it.

    References
    ----------
    .. [1] Xie et al., SegFormer: simple and efficient design for semantic segmentation with
       transformers, NeurIPS 2021, section 3.1.

    Examples
    --------
    >>> import torch
    >>> pyramid = MiT(ndim=2, in_channels=1, widths=(4, 8), depths=(1, 1), heads=(1, 2))
    >>> [tuple(x.shape) for x in pyramid(torch.zeros(1, 1, 32, 16))]
    [(1, 4, 8, 4), (1, 8, 4, 2)]
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        strides: Sequence[int | Sequence[int]] | None = None,
        reductions: Sequence[int | Sequence[int]] | None = None,
        expansion: int = 4,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        levels = len(widths)
        steps = level_axes(strides, (4, *(2,) * (levels - 1)), ndim, levels, "strides")
        shrink = level_axes(
            reductions, [2**i for i in reversed(range(levels))], ndim, levels, "reductions"
        )
        blocks = per_level(depths, levels, "network.arguments.depths")
        parts = per_level(heads, levels, "network.arguments.heads")
        rates = [drop_path * i / max(1, sum(blocks) - 1) for i in range(sum(blocks))]
        self.stages = nn.ModuleList()
        channels, first = in_channels, 0
        for level, width in enumerate(widths):
            if width % parts[level]:
                raise ConfigError(
                    f"network.arguments.heads: {parts[level]} heads do not divide the {width} "
                    f"channels of stage {level}"
                )
            drops = rates[first : first + blocks[level]]
            layers = [
                Block(ndim, width, parts[level], shrink[level], expansion, rate) for rate in drops
            ]
            self.stages.append(
                nn.Sequential(
                    OverlapPatches(ndim, channels, width, steps[level]),
                    *layers,
                    nn.LayerNorm(width, eps=1e-6),
                )
            )
            channels, first = width, first + blocks[level]
        self.divisor = _divisor(steps, shrink)
        self.apply(_init)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image (B, in_channels, *spatial) to maps (B, width, *coarser), finest first."""
        pyramid = []
        x = image
        for stage in self.stages:
            x = stage(x).movedim(-1, 1)
            pyramid.append(x)
        return pyramid


class OverlapPatches(nn.Module):
    """Strided convolution whose kernel reaches into the neighbours, then a layer norm."""

    def __init__(self, ndim: int, channels: int, width: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        kernel = tuple(2 * s - 1 for s in stride)
        padding = tuple(s - 1 for s in stride)
        self.project = CONV[ndim](channels, width, kernel, stride, padding)  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to (B, *spatial / stride, width)."""
        out: Tensor = self.norm(self.project(x).movedim(1, -1))
        return out


class Attention(nn.Module):
    """Multi-head attention whose keys and values come from a map shrunk by ``reduction``."""

    def __init__(self, ndim: int, width: int, heads: int, reduction: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.reduce: nn.Module | None = None
        if max(reduction) > 1:
            self.reduce = CONV[ndim](width, width, reduction, reduction)  # type: ignore[arg-type]
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *spatial, width) to the same shape."""
        context = x
        if self.reduce is not None:
            context = self.norm(self.reduce(x.movedim(-1, 1)).movedim(1, -1))
        key, value = self.key_value(context).chunk(2, dim=-1)
        y = functional.scaled_dot_product_attention(
            self._split(self.query(x)), self._split(key), self._split(value)
        )
        out: Tensor = self.project(y.transpose(1, 2).reshape(x.shape))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Bring (B, *spatial, width) to (B, heads, voxels, width / heads)."""
        return x.reshape(len(x), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)


class MixFFN(nn.Module):
    """Linear, 3x3 depth-wise convolution (which tells positions apart), GELU, linear."""

    def __init__(self, ndim: int, width: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * width
        self.expand = nn.Linear(width, hidden)
        self.mix = CONV[ndim](hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *spatial, width) to the same shape."""
        y = self.mix(self.expand(x).movedim(-1, 1)).movedim(1, -1)
        out: Tensor = self.project(functional.gelu(y))
        return out


class Block(nn.Module):
    """Attention and Mix-FFN, each behind a layer norm and added to its input."""

    def __init__(
        self,
        ndim: int,
        width: int,
        heads: int,
        reduction: tuple[int, ...],
        expansion: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(ndim, width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.ffn = MixFFN(ndim, width, expansion)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *spatial, width) to the same shape."""
        x = x + self._dropped(self.attention(self.norm1(x)))
        return x + self._dropped(self.ffn(self.norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        """In training, silence the branch of a few images and scale it up in the others."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        mask = branch.new_empty((len(branch), *(1,) * (branch.ndim - 1))).bernoulli_(keep)
        return branch * (mask / keep)


def _divisor(
    steps: Sequence[tuple[int, ...]], reductions: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """Return the least size that every patch and every reduction divides, axis by axis."""
    least = []
    for stride, shrink in zip(zip(*steps, strict=True), zip(*reductions, strict=True), strict=True):
        total = [math.prod(stride[: i + 1]) for i in range(len(stride))]
        least.append(math.lcm(*(t * s for t, s in zip(total, shrink, strict=True))))
    return tuple(least)


def _init(module: nn.Module) -> None:
    """Draw linear weights from a narrow normal and convolutions by their fan-out; biases are 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.Conv2d, nn.Conv3d)):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
