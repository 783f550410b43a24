"""Test-time shifts: the mean over a tile seen at several places of the network's own grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Shifted(nn.Module):
    """A network averaged over small shifts of its input along all axes.

    A network that strides is not equivariant to shifts: what it says of a voxel depends on where
    the voxel falls between its strides [1]_. The errors that come of it are nearly independent, so
    that the mean over shifts by 0, 1, -1, 2, ... voxels has fewer of them.

    What a shift uncovers is filled with the nearest voxels; what it pushes out is not heard in that
    pass, so that voxels at the rim have fewer passes in their mean.

    Parameters
    ----------
    network : nn.Module
        Maps (B, C, *patch) to logits (B, num_classes, *patch), each side of at least ``count``.
    count : int
        Passes; the price is that many times the time.

    References
    ----------
    .. [1] Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019.

    Examples
    --------
    >>> even = lambda x: x * (torch.arange(x.shape[-1]) % 2 == 0)  # sees every other voxel
    >>> Shifted(even, 2)(torch.ones(1, 1, 4))
    tensor([[[0.5000, 0.5000, 0.5000, 0.0000]]])
    """

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network, self.offsets = network, shift_offsets(count)

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean logits, float32."""
        total: Tensor = self.network(image).float().clone()  # it may hand its input through
        passes = torch.ones_like(total[:1, :1])
        for offset in self.offsets[1:]:
            logits = self.network(_moved(image, offset))
            here, there = _kept(image.ndim - 2, offset)
            total[here] += logits[there]
            passes[here] += 1
        return total.div_(passes)


def shift_offsets(count: int) -> tuple[int, ...]:
    """Return 0, 1, -1, 2, -2, ...: the shortest ``count`` offsets.

    Examples
    --------
    >>> shift_offsets(4)
    (0, 1, -1, 2)
    """
    return tuple((i + 1) // 2 if i % 2 else -i // 2 for i in range(count))


def _moved(image: Tensor, offset: int) -> Tensor:
    """Move the content of (B, C, *spatial) up all axes, or down where ``offset`` is negative."""
    ndim = image.ndim - 2
    before, after = max(offset, 0), max(-offset, 0)
    box = [slice(after, n - before) for n in image.shape[2:]]
    return pad(image[:, :, *box], [before, after] * ndim, mode="replicate")


def _kept(ndim: int, offset: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where voxels stand that a shift keeps, and where they stand after it."""
    low, high = slice(None, -abs(offset)), slice(abs(offset), None)
    here, there = (low, high) if offset > 0 else (high, low)
    whole = (slice(None), slice(None))
    return whole + (here,) * ndim, whole + (there,) * ndim
