"""UNet++ in 2-D and 3-D: nested skip paths, a supervised head on each of them, pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, ConvUnit, crop_to, init_weights, pad_to_divisor
from medseg.networks.layers import MAX_POOL
from medseg.networks.levels import LevelNetwork
from medseg.networks.output import Prediction
from medseg.networks.unet_parts import make_up


class UNetPlusPlus(LevelNetwork):
    """UNet++ [1]_: node ``X[i, j]`` convolves ``cat(X[i, 0..j-1], up(X[i+1, j-1]))``.

    Column 0 is the encoder. The heads sit on ``X[0, 1..L]``, all at full resolution; in training
    ``logits`` is that of ``X[0, L]`` and ``aux`` those of ``X[0, L-1]``, ..., ``X[0, 1]``. In
    evaluation their logits are averaged (the paper's accurate mode) or, with ``prune``, one head
    answers and the nodes that it does not need are not computed (its fast mode).

    With ``widths=(32, 32, 64, 128, 256), up="transposed"`` this is MONAI's ``BasicUNetPlusPlus``
    (6.98 M parameters in 3-D), but for biases that its normalisation takes away.

    Parameters
    ----------
    widths, norm, **arguments
        Of `medseg.networks.levels.LevelNetwork`, at least two levels; strides are those of
        max-pooling.
    up : {"resize", "transposed"}
        How a node reaches the level above; see `medseg.networks.unet_parts.make_up`.
    deep_supervision : bool
        Have all heads; else that of ``X[0, L]`` alone.
    prune : int, optional
        Answer in evaluation with ``X[0, prune]``, from 1 to L. Default: the average of all heads.
        The attribute may be changed on a trained network.

    References
    ----------
    .. [1] Zhou et al., UNet++: redesigning skip connections to exploit multiscale features in
       image segmentation, IEEE TMI 39(6), 2020; DLMIA 2018.

    Examples
    --------
    >>> import torch
    >>> net = UNetPlusPlus(ndim=2, in_channels=1, num_classes=3, widths=(4, 4, 8))
    >>> len(net.heads), net(torch.zeros(1, 1, 9, 6)).aux[0].shape
    (2, torch.Size([1, 3, 9, 6]))
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        norm: str = "instance",
        up: str = "resize",
        deep_supervision: bool = True,
        prune: int | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, norm=norm, **arguments)
        ndim, steps, kernels, levels = self.ndim, self.steps, self.kernels, len(widths)
        self.depth = levels - 1
        if self.depth < 1:
            raise ConfigError(
                f"network.arguments.widths: {list(widths)} is one level; UNet++ needs two"
            )
        if prune is not None and not (deep_supervision and 1 <= prune <= self.depth):
            raise ConfigError(
                f"network.arguments.prune: {prune} is no supervised head; "
                f"take 1 to {self.depth}, with deep_supervision on"
            )
        self.prune = prune
        before = (self.in_channels, *widths)
        self.encoder, self.pools = nn.ModuleList(), nn.ModuleList()
        self.nodes, self.ups = nn.ModuleList(), nn.ModuleList()  # row i, then column j - 1
        for i, width in enumerate(widths):
            self.pools.append(MAX_POOL[ndim](steps[i], steps[i]))  # the first changes nothing
            self.encoder.append(_node(ndim, before[i], width, kernels[i], norm))
            columns = range(1, levels - i)
            nested = (_node(ndim, (j + 1) * width, width, kernels[i], norm) for j in columns)
            self.nodes.append(nn.ModuleList(nested))
            below = (make_up(up, ndim, widths[i + 1], width, steps[i + 1]) for _ in columns)
            self.ups.append(nn.ModuleList(below))
        heads = self.depth if deep_supervision else 1
        self.heads = nn.ModuleList(CONV[ndim](widths[0], self.num_classes, 1) for _ in range(heads))
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        pruned = None if self.training else self.prune
        top = self.top_row(pad_to_divisor(image, self.divisor), pruned or self.depth)
        sizes = image.shape[2:]
        if pruned is not None:
            return crop_to(self.heads[pruned - 1](top[pruned]), sizes)
        supervised = top[-len(self.heads) :]
        logits = [crop_to(h(x), sizes) for h, x in zip(self.heads, supervised, strict=True)]
        if not self.training:
            return torch.stack(logits).mean(dim=0)
        if len(logits) == 1:
            return logits[0]
        return Prediction(logits[-1], tuple(reversed(logits[:-1])))

    def top_row(self, x: Tensor, depth: int) -> list[Tensor]:
        """Return ``X[0, 0..depth]`` of a padded image, computing only what they need."""
        grid: list[list[Tensor]] = []
        for level in range(depth + 1):  # one diagonal i + j = level after the other
            x = self.encoder[level](self.pools[level](x))
            grid.append([x])
            for i in reversed(range(level)):
                j = level - i
                below = self.ups[i][j - 1](grid[i + 1][j - 1])  # type: ignore[index]
                grid[i].append(self.nodes[i][j - 1](torch.cat((*grid[i], below), dim=1)))  # type: ignore[index]
        return grid[0]


def _node(
    ndim: int, channels: int, width: int, kernel: tuple[int, ...], norm: str
) -> nn.Sequential:
    """Return the two convolutions of a node."""
    one = (1,) * ndim
    return nn.Sequential(
        ConvUnit(ndim, channels, width, kernel=kernel, stride=one, norm=norm),
        ConvUnit(ndim, width, width, kernel=kernel, stride=one, norm=norm),
    )
