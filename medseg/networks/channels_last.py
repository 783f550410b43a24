"""The same layers, quicker on a CPU, most where a tensor lies in memory with its channels last.

torch's own kernels are slow there in four places: batch normalisation of fewer channels than a
vector register holds, instance normalisation (which copies to channels first, and so does the next
convolution back), the bias gradient of transposed convolutions, and average pooling, which autocast
does in float32. Each class here is torch's, with its parameters and its numbers, and does what
torch does wherever the shortcut does not apply.
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


def _fold_of(image: Tensor) -> int:
    """Return how many voxels to lay side by side: several where the channels are few."""
    channels = image.shape[1]
    return FOLD if channels < NARROW and image.numel() // channels % FOLD == 0 else 1


def _spare(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return two empty tensors, for what torch writes beside a map."""
    return like.new_empty(0), like.new_empty(0)


def _normalise(
    x: Tensor, out: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Fill ``out`` with ``x`` normalised over all its voxels; return mean and variance (C,)."""
    fold = _fold_of(x)
    rows, target = _rows(x, fold), _rows(out, fold)
    affine = weight.repeat(fold), bias.repeat(fold)
    _, mean, scale = torch.native_batch_norm(
        rows, *affine, None, None, True, 0.0, eps, out=(target, *_spare(weight))
    )
    mean, variance = mean.view(fold, -1), scale.view(fold, -1).square().reciprocal() - eps
    if fold == 1:
        return mean[0], variance[0]
    variance = (variance + (mean - mean.mean(0)).square()).mean(0).clamp(min=0)
    mean = mean.mean(0)
    moments = (mean.repeat(fold), variance.repeat(fold))
    torch.native_batch_norm(rows, *affine, *moments, False, 0.0, eps, out=(target, *_spare(weight)))
    return mean, variance


def _differentiate(
    grad: Tensor, x: Tensor, out: Tensor, weight: Tensor, moments: tuple[Tensor, Tensor], eps: float
) -> tuple[Tensor, Tensor]:
    """Fill ``out`` with the gradient by ``x``; return those by weight and bias.

    The gradient goes through mean and variance too.
    """
    fold = _fold_of(x)
    rows, grads, target = _rows(x, fold), _rows(grad, fold), _rows(out, fold)
    mean, variance = moments
    wide = [value.repeat(fold) for value in (weight, mean, variance)]
    _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
        grads, rows, *wide, None, None, False, eps, [False, True, True]
    )
    by_weight, by_bias = (v.view(fold, -1).sum(0) for v in (by_weight, by_bias))
    voxels = x.numel() // x.shape[1]
    scale = (variance + eps).rsqrt()
    of_grad = weight * scale
    of_x = -of_grad * scale * by_weight / voxels
    constant = -of_grad * by_bias / voxels - of_x * mean
    a, b, c = (value.repeat(fold) for value in (of_grad, of_x, constant))
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        sums = torch.addcmul(c, rows[part].float(), b)
        target[part] = sums.addcmul_(grads[part].float(), a)
    return by_weight, by_bias


class _RowNorm(torch.autograd.Function):
    """Normalisation of each of some parts of a batch over all its voxels, channels last."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, parts: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normalised map, and mean and variance (parts, C) in float32."""
        out = torch.empty_like(x)  # not a view: an activation may change it in place
        pairs = zip(x.chunk(parts), out.chunk(parts), strict=True)
        found = [_normalise(part, target, weight, bias, eps) for part, target in pairs]
        mean, variance = (torch.stack(values) for values in zip(*found, strict=True))
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate each part by itself."""
        x, weight, mean, variance = ctx.saved_tensors
        grad = grad.to(x.dtype).contiguous(memory_format=LAST[x.ndim])
        out = torch.empty_like(x)
        parts = len(mean)
        pieces = zip(
            grad.chunk(parts), x.chunk(parts), out.chunk(parts), mean, variance, strict=True
        )
        found = [
            _differentiate(of_out, of_x, target, weight, (m, v), ctx.eps)
            for of_out, of_x, target, m, v in pieces
        ]
        by_weight, by_bias = (torch.stack(values).sum(0) for values in zip(*found, strict=True))
        return out, by_weight, by_bias, None, None


class _Narrow(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose training is quick for few channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, *spatial), and follow its mean and variance."""
        voxels = x.numel() // x.shape[1]
        narrow = self.training and _fold_of(x) > 1
        narrow = narrow and self.momentum is not None and self.track_running_stats
        if not (narrow and channels_last_on_cpu(x)) or self.weight.dtype != torch.float32:
            return super().forward(x)
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        out, mean, variance = _RowNorm.apply(x, self.weight, self.bias, 1, self.eps)  # type: ignore[no-untyped-call]
        share = 0.0 if self.momentum is None else self.momentum
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean[0], share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance[0] * voxels / (voxels - 1), share)  # type: ignore[union-attr]
        normalized: Tensor = out
        return normalized


class BatchNorm2d(_Narrow, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, with affine map and running statistics."""


class BatchNorm3d(_Narrow, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d`, with affine map and running statistics."""


class _Instance(nn.modules.instancenorm._InstanceNorm):
    """Instance normalisation that leaves channels last while it trains."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, *spatial) by each image's own statistics."""
        batch = x.ndim == self._get_no_batch_dim() + 1  # type: ignore[no-untyped-call]
        plain = self.affine and not self.track_running_stats and self.weight.dtype == torch.float32
        if not (self.training and batch and plain and channels_last_on_cpu(x)):
            return super().forward(x)
        if x.shape[2:].numel() == 1:  # one voxel has no variance: torch says so
            return super().forward(x)
        normalized: Tensor = _RowNorm.apply(x, self.weight, self.bias, len(x), self.eps)[0]  # type: ignore[no-untyped-call]
        return normalized


class InstanceNorm2d(_Instance, nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d`, with affine map."""


class InstanceNorm3d(_Instance, nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d`, with affine map."""


class _Tiles(nn.modules.conv._ConvTransposeNd):
    """Transposed convolution whose kernel is its stride.

    In bfloat16 with channels last it is a matrix product, laid out in tiles. Elsewhere the bias is
    added by itself: torch's own sum for its gradient takes a third of the layer's time in bfloat16.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, *spatial) to (B, out_channels, *spatial * stride)."""
        if output_size is None and x.dtype != torch.float32 and channels_last_on_cpu(x):
            return self._product(x)
        apart = self.training and output_size is None and x.device.type == "cpu"
        if self.bias is None or not apart:
            out: Tensor = super().forward(x, output_size)
            return out
        convolve = functional.conv_transpose3d if x.ndim == 5 else functional.conv_transpose2d
        y = convolve(x, self.weight, None, self.stride)
        return y.add_(self.bias.to(y.dtype).view(-1, *(1,) * (x.ndim - 2)))

    def _product(self, x: Tensor) -> Tensor:
        """Multiply each voxel's channels with all of the kernel at once."""
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
