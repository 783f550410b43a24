"""The same layers, quicker on a CPU where a tensor lies in memory with its channels last.

torch's own kernels are slow there in three places: batch normalisation of fewer channels than a
vector register holds, the bias gradient of transposed convolutions, and average pooling, which
autocast does in float32. Each class here is torch's, with its parameters and its numbers, and does
what torch does wherever the shortcut does not apply.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NARROW = 32
"""Channels below which batch normalisation is slow."""
FOLD = 8
"""Neighbouring voxels whose channels are laid side by side, to fill the registers."""
ROWS = 4096
"""Rows that are brought to float32 at a time, so that they stay in the cache."""

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last_on_cpu(x: Tensor) -> bool:
    """Tell whether a (B, C, *spatial) lies on the CPU with channels last, and only so."""
    if x.device.type != "cpu" or x.ndim not in LAST or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=LAST[x.ndim])


def _rows(x: Tensor, fold: int) -> Tensor:
    """View a channels-last (B, C, *spatial) as (voxels / fold, fold * C)."""
    return x.movedim(1, -1).reshape(-1, fold * x.shape[1])


class _NarrowNorm(torch.autograd.Function):
    """Batch normalisation over rows of several voxels, whose statistics are then united."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normalised map, and mean and variance (C,) in float32."""
        rows, affine = _rows(x, FOLD), (weight.repeat(FOLD), bias.repeat(FOLD))
        _, mean, scale = torch.native_batch_norm(rows, *affine, None, None, True, 0.0, eps)
        mean = mean.view(FOLD, -1)
        within = scale.view(FOLD, -1).square().reciprocal() - eps
        variance = (within + (mean - mean.mean(0)).square()).mean(0).clamp(min=0)
        mean = mean.mean(0)
        moments = (mean.repeat(FOLD), variance.repeat(FOLD))
        out = torch.empty_like(x)  # not a view: an activation may change it in place
        spare = mean.new_empty(0), mean.new_empty(0)
        torch.native_batch_norm(
            rows, *affine, *moments, False, 0.0, eps, out=(_rows(out, FOLD), *spare)
        )
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Differentiate through mean and variance too."""
        x, weight, mean, variance = ctx.saved_tensors
        rows = _rows(x, FOLD)
        grads = _rows(grad.to(x.dtype).contiguous(memory_format=LAST[x.ndim]), FOLD)
        wide = [value.repeat(FOLD) for value in (weight, mean, variance)]
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            grads, rows, *wide, None, None, False, ctx.eps, [False, True, True]
        )
        by_weight, by_bias = (v.view(FOLD, -1).sum(0) for v in (by_weight, by_bias))
        voxels = x.numel() // x.shape[1]
        scale = (variance + ctx.eps).rsqrt()
        of_grad = weight * scale
        of_x = -of_grad * scale * by_weight / voxels
        constant = -of_grad * by_bias / voxels - of_x * mean
        a, b, c = (value.repeat(FOLD) for value in (of_grad, of_x, constant))
        out = torch.empty_like(x)
        target = _rows(out, FOLD)
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            sums = torch.addcmul(c, rows[part].float(), b)
            target[part] = sums.addcmul_(grads[part].float(), a)
        return out, by_weight, by_bias, None


class _Narrow(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose training is quick for few channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, *spatial), and follow its mean and variance."""
        voxels = x.numel() // x.shape[1]
        narrow = self.training and self.num_features < NARROW and voxels % FOLD == 0
        narrow = narrow and self.momentum is not None and self.track_running_stats
        if not (narrow and channels_last_on_cpu(x)) or self.weight.dtype != torch.float32:
            return super().forward(x)
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        out, mean, variance = _NarrowNorm.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        share = 0.0 if self.momentum is None else self.momentum
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * voxels / (voxels - 1), share)  # type: ignore[union-attr]
        normalized: Tensor = out
        return normalized


class BatchNorm2d(_Narrow, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, with affine map and running statistics."""


class BatchNorm3d(_Narrow, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d`, with affine map and running statistics."""


class _Tiles(nn.modules.conv._ConvTransposeNd):
    """Transposed convolution whose kernel is its stride: a matrix product, laid out in tiles."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, *spatial) to (B, out_channels, *spatial * stride)."""
        if output_size is not None or not channels_last_on_cpu(x):
            out: Tensor = super().forward(x, output_size)
            return out
        ndim, step = x.ndim - 2, self.stride
        weight = self.weight.movedim(1, -1).flatten(1)  # (C, tile * out_channels)
        bias = None if self.bias is None else self.bias.repeat(prod(step))
        y = functional.linear(x.movedim(1, -1), weight.t(), bias)
        y = y.reshape(*y.shape[:-1], *step, self.out_channels)
        pairs = [axis for i in range(1, ndim + 1) for axis in (i, i + ndim)]
        y = y.permute(0, *pairs, -1)  # (B, i, tile i, j, tile j, ..., out_channels)
        sizes = [n * s for n, s in zip(x.shape[2:], step, strict=True)]
        return y.reshape(x.shape[0], *sizes, self.out_channels).movedim(-1, 1)


class Tiles2d(_Tiles, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` whose kernel is its stride."""


class Tiles3d(_Tiles, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` whose kernel is its stride."""


def pooled_conv(x: Tensor, conv: nn.Conv2d | nn.Conv3d, step: tuple[int, ...]) -> Tensor:
    """Average over tiles of ``step`` voxels and convolve with a kernel of 1, in one convolution.

    Parameters
    ----------
    x : float Tensor of shape (B, C, *spatial)
    conv : nn.Conv2d or nn.Conv3d
        Its kernel is 1.
    step : tuple of int

    Returns
    -------
    float Tensor of shape (B, out_channels, *spatial // step)
    """
    weight = (conv.weight / prod(step)).expand(-1, -1, *step)
    weight = weight.contiguous(memory_format=LAST[x.ndim])
    convolve = functional.conv3d if x.ndim == 5 else functional.conv2d
    out: Tensor = convolve(x, weight, conv.bias, stride=step)
    return out
