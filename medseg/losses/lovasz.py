"""Lovasz extension of the Jaccard loss: softmax, and hinge for regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.overlap import Reduction, RegionSums, class_mean, counted
from medseg.losses.region_loss import RegionLoss
from medseg.registry import lookup

Classes = Literal["present", "all"]


@torch.no_grad()
def jaccard_steps(truth: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return what each error adds to the Jaccard loss, the largest error first [1]_.

    After k errors the loss is 1 - (G - right) / (G + wrong), where ``right`` and ``wrong`` count
    the errors on the object and beside it. The steps are taken from the counts, which are exact,
    and not as differences of losses, which would lose all digits in large volumes.

    Parameters
    ----------
    truth : bool Tensor of shape (..., N)
        Whether a voxel belongs to the object, voxels in falling order of their errors.

    dtype : torch.dtype
        Of the result.

    Returns
    -------
    float Tensor of shape (..., N)
        They sum to 1 over all N.

    References
    ----------
    .. [1] Berman et al., The Lovasz-softmax loss, CVPR 2018, algorithm 1.

    Examples
    --------
    >>> jaccard_steps(torch.tensor([True, False])).tolist()  # 1 missed, and 1 beside it
    [1.0, 0.0]
    >>> jaccard_steps(torch.tensor([False, True])).tolist()
    [0.5, 0.5]
    """
    total = truth.sum(-1, keepdim=True)
    missed = truth.cumsum(-1)
    union = (total + (~truth).cumsum(-1)).to(dtype)
    kept = total - missed
    beside = kept / (union * (union - 1)).clamp(min=1)  # from kept / (union - 1) to kept / union
    beside[..., :1] = torch.where(total == 0, 1.0, beside[..., :1])  # any error loses an empty one
    return torch.where(truth, 1 / union.clamp(min=1), beside)


def lovasz_extension(
    errors: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    per_image: bool = True,
    classes: Classes = "present",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the sum of sorted errors times `jaccard_steps`, averaged over channels, then images.

    Parameters
    ----------
    errors : float Tensor of shape (B, C, *spatial)
        0 where the prediction is right, 1 (or more, for a hinge) where it is wrong.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    per_image : bool
        One Jaccard per image instead of one over the batch (of this process: sorted errors
        cannot be summed over processes).
    classes : {"present", "all"}
        Leave absent classes out of the mean, or not. Of an absent class only the largest error
        counts.
    class_weights, reduction
        See `medseg.losses.overlap.class_mean`.
    """
    lookup(dict.fromkeys(get_args(Classes)), classes, "choice of classes")
    counts = counted(valid, known).expand_as(truth)
    errors, truth = (errors * counts).flatten(2), (truth & counts).flatten(2)
    if not per_image:
        errors = errors.movedim(0, 1).flatten(1).unsqueeze(0)
        truth = truth.movedim(0, 1).flatten(1).unsqueeze(0)
        known = known.any(0, keepdim=True)
    errors, order = errors.sort(dim=2, descending=True)
    true = truth.sum(2).to(errors.dtype)
    losses = (errors * jaccard_steps(truth.gather(2, order), errors.dtype)).sum(2)
    return class_mean(
        losses,
        RegionSums(true, true, true, known),
        absent="skip" if classes == "present" else "keep",
        class_weights=class_weights,
        reduction=reduction,
    )


def lovasz_softmax_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    per_image: bool = True,
    classes: Classes = "present",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the Lovasz extension of the Jaccard loss at the errors |g - p| [1]_.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities (not logits), without the channels to be left out. The sort takes
        N log N per channel: crop above some 4 million voxels.
    truth, valid, known, per_image, classes, class_weights, reduction
        See `lovasz_extension`.

    References
    ----------
    .. [1] Berman et al., The Lovasz-softmax loss, CVPR 2018, eq. 11-12.

    Examples
    --------
    >>> probs = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    >>> truth = torch.tensor([[[True, False, False, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> lovasz_softmax_loss(probs, truth, truth | True, yes).item()  # a hard mask: 1 - Jaccard
    0.5
    """
    return lovasz_extension(
        torch.where(truth, 1 - probs, probs),
        truth,
        valid,
        known,
        per_image=per_image,
        classes=classes,
        class_weights=class_weights,
        reduction=reduction,
    )


def lovasz_hinge_loss(
    logits: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    per_image: bool = True,
    classes: Classes = "present",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the Lovasz extension of the Jaccard loss at the hinges max(0, 1 - (2 g - 1) z) [1]_.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
        z, each channel a binary question.
    truth, valid, known, per_image, classes, class_weights, reduction
        See `lovasz_extension`.

    References
    ----------
    .. [1] Yu and Blaschko, Learning submodular losses with the Lovasz hinge, ICML 2015; Berman et
       al., CVPR 2018, eq. 7.

    Examples
    --------
    >>> truth = torch.tensor([[[True, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> lovasz_hinge_loss(torch.tensor([[[0.0, -1.0]]]), truth, truth | True, yes).item()
    1.0
    """
    return lovasz_extension(
        torch.where(truth, 1 - logits, 1 + logits).relu(),
        truth,
        valid,
        known,
        per_image=per_image,
        classes=classes,
        class_weights=class_weights,
        reduction=reduction,
    )


class LovaszLoss(RegionLoss):
    """The IoU itself, made differentiable by its Lovasz extension (softmax or hinge).

    Parameters
    ----------
    activation, regions
        See `Loss`.
    per_image, classes
        See `lovasz_extension`. With ``present``, false positives of absent classes cost nothing:
        add a loss that minds them.
    hinge : bool
        For ``sigmoid``: hinges of the logits; else errors of the probabilities.
    include_background, class_weights
        See `medseg.losses.region_loss.RegionLoss`.
    """

    term = "lovasz"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        per_image: bool = True,
        classes: Classes = "present",
        hinge: bool = True,
        include_background: bool = False,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            activation, regions, include_background=include_background, class_weights=class_weights
        )
        self.per_image = per_image
        self.classes: Classes = classes
        self.hinge = hinge and activation == "sigmoid"

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `lovasz_hinge_loss` or `lovasz_softmax_loss`."""
        function = lovasz_hinge_loss if self.hinge else lovasz_softmax_loss
        return function(
            scores[:, kept] if self.hinge else self.probs(scores, kept),
            truth,
            valid,
            known,
            per_image=self.per_image,
            classes=self.classes,
            class_weights=self.weights_of(kept),
        )
