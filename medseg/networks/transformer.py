"""Transformer layers over tokens (B, N, channels), and positions that serve any image size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks.layers import resize


class DropPath(nn.Module):
    """In training, silence a branch for a few images and scale it up in the others [1]_.

    References
    ----------
    .. [1] Huang et al., Deep networks with stochastic depth, ECCV 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Map (B, ...) to the same shape."""
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        mask = branch.new_empty((len(branch), *(1,) * (branch.ndim - 1))).bernoulli_(keep)
        return branch * (mask / keep)


class Attention(nn.Module):
    """Multi-head attention of tokens to themselves or, with ``context``, to others [1]_.

    Parameters
    ----------
    width, heads : int
        Channels, and attention heads, which divide them.

    Raises
    ------
    ConfigError
        If the heads do not divide the channels.

    References
    ----------
    .. [1] Vaswani et al., Attention is all you need, NeurIPS 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                f"network.arguments.heads: {heads} heads do not divide the {width} channels"
            )
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """Map (B, N, width) to the same shape.

        Parameters
        ----------
        x : float Tensor of shape (B, N, width)
            What asks.
        context : float Tensor of shape (B, M, width), optional
            What is asked; ``x`` without it.
        places : float Tensor of shape (B or 1, M, width), optional
            Added to ``context`` for the keys, not for the values.
        """
        asked = x if context is None else context
        weight, bias = self.key_value.weight.chunk(2), self.key_value.bias.chunk(2)
        key = functional.linear(asked if places is None else asked + places, weight[0], bias[0])
        value = functional.linear(asked, weight[1], bias[1])
        y = functional.scaled_dot_product_attention(
            self._split(self.query(x)), self._split(key), self._split(value)
        )
        out: Tensor = self.project(y.transpose(1, 2).reshape(x.shape))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Bring (B, N, width) to (B, heads, N, width / heads)."""
        return x.reshape(len(x), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)


def mlp(width: int, hidden: int, act: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """Return a linear layer to ``hidden`` channels, an activation and one back."""
    return nn.Sequential(nn.Linear(width, hidden), act(), nn.Linear(hidden, width))


class Layer(nn.Module):
    """Attention and two linear layers, each behind a layer norm and added to its input [1]_.

    References
    ----------
    .. [1] Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021, equations 2 and 3.
    """

    def __init__(self, width: int, heads: int, *, expansion: int = 4, drop_path: float = 0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, expansion * width)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        x = x + self.drop(self.attention(self.norm1(x)))
        out: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return out


class Positions(nn.Module):
    """A learnt vector per place of a grid, interpolated linearly to maps of another size.

    Parameters
    ----------
    channels : int
    grid : sequence of int
        Places per axis that have a vector of their own.
    """

    def __init__(self, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, channels, *grid))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, sizes: Sequence[int]) -> Tensor:
        """Return vectors (1, channels, *sizes)."""
        return resize(self.weight, sizes)


def init_linear(module: nn.Module) -> None:
    """Draw linear weights from a narrow normal; biases start at 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def to_tokens(x: Tensor) -> Tensor:
    """Bring a map (B, C, *spatial) to tokens (B, voxels, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, sizes: Sequence[int]) -> Tensor:
    """Bring tokens (B, voxels, C) to a map (B, C, *sizes)."""
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], *sizes)
