"""Hausdorff loss by convolution with balls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.distance_target import (
    ForegroundLoss,
    axis_sizes,
    mean_over_known,
    voxel_mean,
)
from medseg.losses.overlap import Reduction


def hausdorff_cv_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    alpha: float = 2.0,
    radii: Sequence[float] = (3.0, 6.0, 9.0),
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean over voxels of the sum over r of r^alpha times the error at depth r [1]_.

    With B the mean over the ball of radius r (beyond the image: 0) and f(x) = max(x - 0.5, 0), the
    error at depth r is (p - g)² times p (f(B(1 - g)) + f(B p)) + g (f(B(1 - p)) + f(B g)): what is
    predicted far from the truth, or in a thick piece, and what is missed likewise.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where the target counts; elsewhere is background to the balls.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    spacing : sequence of float, optional
        In mm, array axis order. None: 1 each.
    alpha : float
        How much more a far error costs.
    radii : sequence of float
        r, in mm.
    reduction : {"mean", "none"}
        A scalar, or one value per image and channel.

    References
    ----------
    .. [1] Karimi and Salcudean, Reducing the Hausdorff distance in medical image segmentation with
       convolutional neural networks, IEEE TMI 39, 2020, eq. 13 to 15.
    """
    sizes = axis_sizes(spacing, probs.ndim - 2)
    p, g = probs * valid, (truth & valid).to(probs.dtype)
    inside = torch.ones_like(p[:1, :1])
    error = (p - g).square()
    depth = torch.zeros_like(p)
    for radius in radii:
        ball = ball_kernel(radius, sizes, p)
        near_p, near_g, all_of_it = (_ball_mean(value, ball) for value in (p, g, inside))
        predicted = _above_half(all_of_it - near_g) + _above_half(near_p)
        missed = _above_half(all_of_it - near_p) + _above_half(near_g)
        depth = depth + radius**alpha * (p * predicted + g * missed)
    return mean_over_known(voxel_mean(error * depth, valid), known, reduction)


def ball_kernel(radius: float, sizes: Sequence[float], like: Tensor) -> Tensor:
    """Return equal weights of sum 1 on the voxel centres within a radius of the middle one.

    Parameters
    ----------
    radius : float
        In mm.
    sizes : sequence of float
        Voxel size in mm, per spatial axis.
    like : Tensor of shape (B, C, *spatial)
        Gives dtype and device; along axes with one voxel the ball is one voxel thick.

    Returns
    -------
    float Tensor with an odd size per spatial axis

    Examples
    --------
    >>> ball_kernel(1.0, (1.0, 2.0), torch.zeros(1, 1, 5, 5)).tolist()
    [[0.3333333432674408], [0.3333333432674408], [0.3333333432674408]]
    """
    halves = [
        int(radius / size) if n > 1 else 0 for size, n in zip(sizes, like.shape[2:], strict=True)
    ]
    lines = [
        (torch.arange(-half, half + 1, dtype=like.dtype, device=like.device) * size).square()
        for half, size in zip(halves, sizes, strict=True)
    ]
    square = torch.stack(torch.meshgrid(*lines, indexing="ij")).sum(0)
    ball = (square <= radius**2 * (1 + 1e-6)).to(like.dtype)
    return ball / ball.sum()


def _ball_mean(value: Tensor, ball: Tensor) -> Tensor:
    """Return the convolution of (B, C, *spatial) with the ball, 0 beyond; as fast for any radius.

    Through the Fourier transform, which also keeps float32 on devices whose convolutions do not.
    """
    axes = tuple(range(2, value.ndim))
    halves = [n // 2 for n in ball.shape]
    shape = [n + 2 * half for n, half in zip(value.shape[2:], halves, strict=True)]
    spectrum = torch.fft.rfftn(value, s=shape, dim=axes)
    spectrum = spectrum * torch.fft.rfftn(ball[None, None], s=shape, dim=axes)
    full: Tensor = torch.fft.irfftn(spectrum, s=shape, dim=axes)
    for axis, half, n in zip(axes, halves, value.shape[2:], strict=True):
        full = full.narrow(axis, half, n)
    return full


def _above_half(value: Tensor) -> Tensor:
    """Return the soft threshold max(x - 0.5, 0)."""
    return (value - 0.5).clamp(min=0)


class HausdorffCVLoss(ForegroundLoss):
    """Hausdorff distance estimated by convolutions with balls of growing radius.

    Parameters
    ----------
    activation, regions, include_background
        See `ForegroundLoss`.
    spacing, alpha, radii
        See `hausdorff_cv_loss`.
    """

    takes_spacing: ClassVar[bool] = True

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
        alpha: float = 2.0,
        radii: Sequence[float] = (3.0, 6.0, 9.0),
    ) -> None:
        super().__init__(activation, regions, include_background=include_background)
        if not radii or not all(radius > 0 for radius in radii):
            raise ConfigError(f"radii {tuple(radii)} of a Hausdorff loss must be positive, in mm")
        self.spacing = None if spacing is None else tuple(spacing)
        self.alpha = alpha
        self.radii = tuple(radii)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"hausdorff_cv": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            probs, truth, valid, known = self.compared(logits, label, annotated)
            value = hausdorff_cv_loss(
                probs,
                truth,
                valid,
                known,
                spacing=self.spacing,
                alpha=self.alpha,
                radii=self.radii,
            )
            return {"hausdorff_cv": value}
