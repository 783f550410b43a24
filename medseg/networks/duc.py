"""Hybrid dilated convolution and dense upsampling convolution in 2-D and 3-D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights, same_conv
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork


class DUC(PyramidNetwork):
    """A ResNet with mixed dilations, and logits for all voxels of a coarse one at once [1]_.

    64.91 M parameters with 19 classes in 2-D (about 60 are quoted; unverified). The last
    convolution makes ``num_classes`` times 8 to the power of ``ndim`` channels: in 3-D take
    ``output_stride=4`` and half the width.

    Parameters
    ----------
    encoder : str
        A ResNet among the keys of `medseg.networks.encoders.ENCODERS`.
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    hybrid : sequence of sequences of int
        Dilations of the blocks of the last stages, repeated as needed; without a common factor no
        voxel between is left out. "Bigger" in [1]_ is ``((1, 2, 5, 9), (5, 9, 17))``.
    **arguments
        Of `medseg.networks.headed.PyramidNetwork`.

    References
    ----------
    .. [1] Wang et al., Understanding convolution for semantic segmentation, WACV 2018.
    """

    def __init__(
        self,
        *,
        encoder: str = "resnet101",
        output_stride: int | Sequence[int] | None = 8,
        hybrid: Sequence[Sequence[int]] = ((1, 2, 3), (3, 4, 5)),
        **arguments: Any,
    ) -> None:
        super().__init__(
            _Head, encoder=encoder, output_stride=output_stride, hybrid=hybrid, **arguments
        )


class _Head(nn.Module):
    """One convolution and a shuffle of its channels into voxels."""

    def __init__(self, encoder: Encoder, num_classes: int, *, ndim: int, **_: Any) -> None:
        super().__init__()
        self.step = encoder.strides[-1]
        block = math.prod(self.step)
        given, one = encoder.channels[-1], (1,) * ndim
        self.dense = same_conv(ndim, given, num_classes * block, encoder.kernel, one, bias=True)
        self.apply(init_weights)
        with torch.no_grad():  # all voxels of a block start alike, or there is a checkerboard
            weight = self.dense.get_parameter("weight")
            weight.copy_(weight[::block].repeat_interleave(block, dim=0))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the image."""
        return shuffle(self.dense(maps[-1]), self.step)


def shuffle(x: Tensor, step: Sequence[int]) -> Tensor:
    """Turn groups of channels into blocks of voxels.

    Parameters
    ----------
    x : float Tensor of shape (B, C * prod(step), *spatial)
    step : sequence of int
        Sides of a block; its last axis is fastest among the channels.

    Returns
    -------
    float Tensor of shape (B, C, *spatial * step)

    References
    ----------
    .. [1] Shi et al., Real-time single image and video super-resolution using an efficient
       sub-pixel convolutional neural network, CVPR 2016.
    """
    count = len(step)
    split = x.reshape(x.shape[0], -1, *step, *x.shape[2:])
    pairs = [axis for i in range(count) for axis in (2 + count + i, 2 + i)]
    sizes = [n * s for n, s in zip(x.shape[2:], step, strict=True)]
    return split.permute(0, 1, *pairs).reshape(x.shape[0], split.shape[1], *sizes)
