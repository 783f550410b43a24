"""The same network with less to do, for predicting alone.

Three things are known of a network that will only predict. Batch normalisation is a fixed factor
and summand per channel, which the convolution before it can take in. Instance normalisation of one
tile is batch normalisation by the tile's own statistics, for which torch has a kernel that leaves
channels last (its instance normalisation copies them to the front, twice as slow); nobody else
wants the output of the convolution before it, so that it can be done in place. And on a CPU
convolutions are quicker and take no second copy of their input where channels come last.
"""

from __future__ import annotations

import copy
import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medseg.networks.channels_last import (
    LAST,
    InstanceNorm2d,
    InstanceNorm3d,
    channels_last_on_cpu,
)


def quickened(network: nn.Module, *, channels_last: bool) -> nn.Module:
    """Return a network that gives the same logits, up to rounding, with less work.

    A normalisation is folded, or done in place, where it follows a convolution in a plain
    `nn.Sequential`: there alone the order of the calls is known. Modules that hold no layer of
    torch's, such as exported graphs, are handed back as they are.

    Parameters
    ----------
    network : nn.Module
        In eval mode; it is left as it is. The copy shares its parameters but for those of
        convolutions, which are laid out or folded anew: later training does not reach it.
    channels_last : bool
        Lay out the weights of convolutions so that maps have their channels last.

    Returns
    -------
    nn.Module
    """
    kinds = (_ConvNd, _BatchNorm, _InstanceNorm)
    if not any(isinstance(module, kinds) for module in network.modules()):
        return network
    shared = {id(value): value for value in (*network.parameters(), *network.buffers())}
    quick: nn.Module = copy.deepcopy(network, shared)
    for module in list(quick.modules()):
        if type(module) in _QUICK:  # the copy is ours, and the classes differ in forward alone
            module.__class__ = _QUICK[type(module)]
    for module in list(quick.modules()):
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            _unite(module)
    if channels_last:
        for module in quick.modules():
            if isinstance(module, _ConvNd) and module.weight.ndim in LAST:
                weight = module.weight.detach()
                # Not contiguous(): it leaves the strides of a single input channel as they are.
                last = torch.empty_like(weight, memory_format=LAST[weight.ndim]).copy_(weight)
                module.weight = nn.Parameter(last, requires_grad=False)
    return quick


def _unite(layers: nn.Sequential) -> None:
    """Fold a batch normalisation right after a convolution; let an instance one work in place."""
    for i, (conv, norm) in enumerate(itertools.pairwise(list(layers))):
        if type(conv) not in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
            continue
        if isinstance(norm, _TileNorm):
            norm.in_place = True
        elif isinstance(norm, _BatchNorm) and norm.running_mean is not None and not norm.training:
            layers[i] = fuse_conv_bn_eval(cast("nn.Conv3d", conv), norm).requires_grad_(False)
            layers[i + 1] = nn.Identity()  # other code counts the layers


class _TileNorm(_InstanceNorm):
    """Instance normalisation that leaves channels last on a CPU."""

    in_place = False
    """Overwrite the input; only set where it is a convolution's output that nobody else sees."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, *spatial) by each image's own statistics."""
        stored = self.track_running_stats and not self.training
        batch = x.ndim == self._get_no_batch_dim() + 1  # type: ignore[no-untyped-call]
        if stored or not batch or torch.is_grad_enabled() or not channels_last_on_cpu(x):
            return super().forward(x)
        out = x if self.in_place else torch.empty_like(x)
        for image, target in zip(x.chunk(len(x)), out.chunk(len(x)), strict=True):
            spare = (image.new_empty(0, dtype=torch.float32) for _ in range(2))
            torch.native_batch_norm(
                image, self.weight, self.bias, None, None, True, 0.0, self.eps, out=(target, *spare)
            )
        return out


class _TileNorm2d(_TileNorm, nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d`."""


class _TileNorm3d(_TileNorm, nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d`."""


_QUICK: dict[type[nn.Module], type[nn.Module]] = {
    nn.InstanceNorm2d: _TileNorm2d,
    nn.InstanceNorm3d: _TileNorm3d,
    InstanceNorm2d: _TileNorm2d,
    InstanceNorm3d: _TileNorm3d,
}
