"""Dice plus a second loss: the sums that are worth a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medseg.losses.base import Activation, Loss
from medseg.losses.compound import Term, WeightedSum
from medseg.losses.cross_entropy import CrossEntropyLoss
from medseg.losses.dice import DiceLoss
from medseg.losses.focal import FocalLoss
from medseg.losses.topk import TopKLoss
from medseg.losses.weighting import Weight


class _DicePlus(WeightedSum):
    """Soft Dice plus another loss.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    name : str
        What the other is logged as.
    other : Loss
    weight_dice, weight_other : float
        Weights of the two.
    batch, include_background, smooth
        See `DiceLoss`.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]],
        name: str,
        other: Loss,
        *,
        weight_dice: float,
        weight_other: float,
        batch: bool,
        include_background: bool,
        smooth: float,
    ) -> None:
        dice = DiceLoss(
            activation,
            regions,
            batch=batch,
            include_background=include_background,
            smooth=smooth,
        )
        super().__init__(
            activation,
            regions,
            parts=[
                Term(name="dice", loss=dice, weight=Weight(start=weight_dice)),
                Term(name=name, loss=other, weight=Weight(start=weight_other)),
            ],
        )


class DiceCELoss(_DicePlus):
    """Soft Dice plus cross entropy, as in nnU-Net [1]_.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight_dice, weight_ce : float
        Weights of the two.
    batch, include_background, smooth
        See `DiceLoss`.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight_dice: float = 1.0,
        weight_ce: float = 1.0,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            activation,
            regions,
            "ce",
            CrossEntropyLoss(activation, regions),
            weight_dice=weight_dice,
            weight_other=weight_ce,
            batch=batch,
            include_background=include_background,
            smooth=smooth,
        )


class DiceFocalLoss(_DicePlus):
    """Soft Dice plus the focal loss, for hard voxels of small structures [1]_.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight_dice, weight_focal : float
        Weights of the two.
    gamma, kind
        See `FocalLoss`. With classes the kind is ``softmax`` unless told otherwise (MONAI's
        DiceFocalLoss takes the sigmoid kind even then).
    batch, include_background, smooth
        See `DiceLoss`.

    References
    ----------
    .. [1] Zhu et al., AnatomyNet, Medical Physics 46, 2019.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight_dice: float = 1.0,
        weight_focal: float = 1.0,
        gamma: float = 2.0,
        kind: Literal["softmax", "sigmoid"] | None = None,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            activation,
            regions,
            "focal",
            FocalLoss(activation, regions, gamma=gamma, kind=kind),
            weight_dice=weight_dice,
            weight_other=weight_focal,
            batch=batch,
            include_background=include_background,
            smooth=smooth,
        )


class DiceTopKLoss(_DicePlus):
    """Soft Dice plus the cross entropy of the hardest voxels [1]_.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight_dice, weight_topk : float
        Weights of the two.
    k
        See `TopKLoss`.
    batch, include_background, smooth
        See `DiceLoss`.

    References
    ----------
    .. [1] Ma et al., Loss odyssey in medical image segmentation, Medical Image Analysis 71, 2021.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight_dice: float = 1.0,
        weight_topk: float = 1.0,
        k: float = 10.0,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            activation,
            regions,
            "topk",
            TopKLoss(activation, regions, k=k),
            weight_dice=weight_dice,
            weight_other=weight_topk,
            batch=batch,
            include_background=include_background,
            smooth=smooth,
        )
