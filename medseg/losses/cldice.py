"""clDice: Dice of centre lines, for vessels and other tubes whose connections matter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.compound import Term, WeightedSum
from medseg.losses.dice import DiceLoss
from medseg.losses.overlap import Absent, Reduction, class_mean, counted, region_sums
from medseg.losses.region_loss import RegionLoss
from medseg.losses.weighting import Weight


def soft_skeleton(image: Tensor, iterations: int = 3) -> Tensor:
    """Return the soft skeleton: what an opening removes, gathered over repeated erosions [1]_.

    Parameters
    ----------
    image : float Tensor of shape (B, C, *spatial)
        In [0, 1].
    iterations : int
        At least half the width, in voxels, of the thickest tube.

    Returns
    -------
    float Tensor of shape (B, C, *spatial)

    References
    ----------
    .. [1] Shit et al., clDice: a novel topology-preserving loss function for tubular structure
       segmentation, CVPR 2021, algorithm 1.

    Examples
    --------
    >>> bar = torch.zeros(1, 1, 5, 7)
    >>> bar[..., 1:4, 1:6] = 1
    >>> soft_skeleton(bar)[0, 0, :, 3].tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    thinner = _erode(image)
    skeleton = functional.relu(image - _dilate(thinner))
    for _ in range(iterations):
        image, thinner = thinner, _erode(thinner)
        rest = functional.relu(image - _dilate(thinner))
        skeleton = skeleton + functional.relu(rest - skeleton * rest)
    return skeleton


def _erode(image: Tensor) -> Tensor:
    """Take the minimum over the voxel and its face neighbours."""
    along = [_of_three(image, axis, largest=False) for axis in range(2, image.ndim)]
    return reduce(torch.minimum, along)


def _dilate(image: Tensor) -> Tensor:
    """Take the maximum over the voxel and all its neighbours."""
    for axis in range(2, image.ndim):
        image = _of_three(image, axis, largest=True)
    return image


def _of_three(image: Tensor, axis: int, *, largest: bool) -> Tensor:
    """Take the least or the largest of each voxel and its two neighbours along an axis."""
    if image.shape[axis] == 1:
        return image
    out: Tensor = _OfThree.apply(image, axis, largest)  # type: ignore[no-untyped-call]
    return out


class _OfThree(torch.autograd.Function):
    """Shifts instead of pooling: 7 times as fast forwards on a CPU, and a backward to match."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, axis: int, largest: bool) -> Tensor:
        """Compare with both neighbours."""
        best = torch.maximum if largest else torch.minimum
        n = image.shape[axis] - 1
        out = image.clone()
        before, after = image.narrow(axis, 0, n), image.narrow(axis, 1, n)
        pair = best(before, after)
        out.narrow(axis, 0, n).copy_(pair)
        best(out.narrow(axis, 1, n), pair, out=out.narrow(axis, 1, n))
        ctx.save_for_backward(image, out)
        ctx.axis = axis
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Hand the gradient to the voxel itself, else to the one before, else to the one after."""
        image, out = ctx.saved_tensors
        axis, n = ctx.axis, image.shape[ctx.axis] - 1
        given = grad * (image == out)
        rest = grad - given
        before = rest.narrow(axis, 1, n) * (image.narrow(axis, 0, n) == out.narrow(axis, 1, n))
        rest.narrow(axis, 1, n).sub_(before)
        given.narrow(axis, 0, n).add_(before)
        given.narrow(axis, 1, n).add_(rest.narrow(axis, 0, n))
        return given, None, None


def cldice_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    iterations: int = 3,
    smooth: float = 1.0,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return 1 - 2 T S / (T + S), averaged over channels and then over images [1]_.

    T = (sum(skel(p) g) + s) / (sum(skel(p)) + s) is the share of the predicted centre line within
    the truth, S = (sum(skel(g) p) + s) / (sum(skel(g)) + s) that of the true one within the
    prediction. Where nothing counts, both maps are 0.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    iterations : int
        See `soft_skeleton`.
    smooth : float
        s; above and below the line.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    References
    ----------
    .. [1] Shit et al., clDice, CVPR 2021, eqs. 1 to 3.
    """
    axes = tuple(range(2, probs.ndim))
    counts = counted(valid, known)
    p, g = probs * counts, (truth & counts).to(probs.dtype)
    with torch.no_grad():
        true_line = soft_skeleton(g, iterations)
    line = soft_skeleton(p, iterations)
    precision = ((line * g).sum(axes) + smooth) / (line.sum(axes) + smooth)
    sensitivity = ((true_line * p).sum(axes) + smooth) / (true_line.sum(axes) + smooth)
    losses = 1 - 2 * precision * sensitivity / (precision + sensitivity)  # (B, C)
    sums = region_sums(probs.detach(), truth, valid, known)
    return class_mean(losses, sums, absent=absent, class_weights=class_weights, reduction=reduction)


class CLDiceTerm(RegionLoss):
    """`cldice_loss` alone.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    iterations, smooth
        See `cldice_loss`.
    include_background, absent, class_weights
        See `RegionLoss`.
    """

    term: ClassVar[str] = "cldice"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        iterations: int = 3,
        smooth: float = 1.0,
        include_background: bool = False,
        absent: Absent = "keep",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            activation,
            regions,
            include_background=include_background,
            absent=absent,
            class_weights=class_weights,
        )
        if iterations < 1:
            raise ConfigError(f"iterations is {iterations}; it must be at least 1")
        self.iterations, self.smooth = iterations, smooth

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `cldice_loss`."""
        return cldice_loss(
            self.probs(scores, kept),
            truth,
            valid,
            known,
            iterations=self.iterations,
            smooth=self.smooth,
            absent=self.absent,
            class_weights=self.weights_of(kept),
        )


class CLDiceLoss(WeightedSum):
    """(1 - a) Dice + a clDice, for vessels and other tubes that must stay connected [1]_.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight_line : float
        a, in [0, 1].
    iterations : int
        Of the soft skeleton; at least half the width, in voxels, of the thickest tube.
    smooth : float
        Of both.
    include_background, absent, class_weights
        See `RegionLoss`.

    References
    ----------
    .. [1] Shit et al., clDice, CVPR 2021, eq. 4.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight_line: float = 0.5,
        iterations: int = 3,
        smooth: float = 1.0,
        include_background: bool = False,
        absent: Absent = "keep",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        if not 0 <= weight_line <= 1:
            raise ConfigError(f"weight_line is {weight_line}; it must be in [0, 1]")
        dice = DiceLoss(
            activation,
            regions,
            smooth=smooth,
            include_background=include_background,
            absent=absent,
            class_weights=class_weights,
        )
        line = CLDiceTerm(
            activation,
            regions,
            iterations=iterations,
            smooth=smooth,
            include_background=include_background,
            absent=absent,
            class_weights=class_weights,
        )
        super().__init__(
            activation,
            regions,
            parts=[
                Term(name="dice", loss=dice, weight=Weight(start=1 - weight_line)),
                Term(name="cldice", loss=line, weight=Weight(start=weight_line)),
            ],
        )
