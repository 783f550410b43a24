"""Losses: logits and class indices to a scalar. Each is a function of tensors in a thin module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from medseg.errors import ConfigError
from medseg.losses.asymmetric import AsymmetricSimilarityLoss
from medseg.losses.base import Activation, Loss
from medseg.losses.blob import BlobLoss
from medseg.losses.border_weighted import BorderWeightedLoss
from medseg.losses.boundary import BoundaryLoss
from medseg.losses.boundary_dou import BoundaryDoULoss
from medseg.losses.build import Settings, build_from
from medseg.losses.cc_dice import CCDiceLoss
from medseg.losses.cldice import CLDiceLoss
from medseg.losses.combo import ComboLoss
from medseg.losses.cross_entropy import CrossEntropyLoss
from medseg.losses.deep_supervision import supervise
from medseg.losses.dice import DiceLoss
from medseg.losses.dice_plus import DiceCELoss, DiceFocalLoss, DiceTopKLoss
from medseg.losses.distance_penalised import DistancePenalisedLoss
from medseg.losses.exp_log import ExpLogLoss
from medseg.losses.focal import FocalLoss
from medseg.losses.generalized_dice import GeneralizedDiceLoss, PenaltyGeneralizedDiceLoss
from medseg.losses.generalized_surface import GeneralizedSurfaceLoss
from medseg.losses.hausdorff import HausdorffDTLoss
from medseg.losses.hausdorff_convolution import HausdorffCVLoss
from medseg.losses.hausdorff_erosion import HausdorffERLoss
from medseg.losses.iou_balanced import IoUBalancedLoss
from medseg.losses.jaccard import JaccardLoss
from medseg.losses.lovasz import LovaszLoss
from medseg.losses.mcc import MCCLoss
from medseg.losses.sensitivity_specificity import SensitivitySpecificityLoss
from medseg.losses.topk import OHEMLoss, TopKLoss
from medseg.losses.tversky import FocalTverskyLoss, TverskyLoss
from medseg.losses.unified_focal import UnifiedFocalLoss

__all__ = ["LOSSES", "Loss", "build_loss", "check_loss", "supervise"]

LOSSES: Mapping[str, Callable[..., Loss]] = {
    "cross_entropy": CrossEntropyLoss,
    "border_weighted": BorderWeightedLoss,
    "topk": TopKLoss,
    "ohem": OHEMLoss,
    "focal": FocalLoss,
    "distance_penalised": DistancePenalisedLoss,
    "sensitivity_specificity": SensitivitySpecificityLoss,
    "dice": DiceLoss,
    "generalized_dice": GeneralizedDiceLoss,
    "penalty_generalized_dice": PenaltyGeneralizedDiceLoss,
    "jaccard": JaccardLoss,
    "iou_balanced": IoUBalancedLoss,
    "tversky": TverskyLoss,
    "focal_tversky": FocalTverskyLoss,
    "asymmetric_similarity": AsymmetricSimilarityLoss,
    "lovasz": LovaszLoss,
    "mcc": MCCLoss,
    "boundary_dou": BoundaryDoULoss,
    "combo": ComboLoss,
    "exp_log": ExpLogLoss,
    "unified_focal": UnifiedFocalLoss,
    "dice_ce": DiceCELoss,
    "dice_focal": DiceFocalLoss,
    "dice_topk": DiceTopKLoss,
    "cldice": CLDiceLoss,
    "blob": BlobLoss,
    "cc_dice": CCDiceLoss,
    "boundary": BoundaryLoss,
    "generalized_surface": GeneralizedSurfaceLoss,
    "hausdorff_dt": HausdorffDTLoss,
    "hausdorff_er": HausdorffERLoss,
    "hausdorff_cv": HausdorffCVLoss,
}


def build_loss(
    settings: Settings,
    activation: Activation,
    regions: Sequence[Sequence[int]] = (),
    spacing: Sequence[float] | None = None,
) -> Loss:
    """Build the loss that ``settings`` describes.

    Parameters
    ----------
    settings : mapping or sequence of mappings
        ``name``, and the arguments of that loss. Of several, the weighted sum: each may also have
        ``weight`` (see `medseg.losses.weighting.read_weight`), ``as`` (what it is logged as, if
        not by its name) and ``auto_balance`` (see `medseg.losses.compound.Term`).
    activation : {"softmax", "sigmoid"}
        What turns the network's logits into probabilities.
    regions : sequence of sequences of int
        For ``sigmoid``: the class indices that each channel unites.
    spacing : sequence of float, optional
        Voxel spacing in mm, for the losses that measure distances and are not told another one.

    Returns
    -------
    Loss
        ``loss(logits, label, annotated=None)``.

    Raises
    ------
    ConfigError
        If there is no such loss, it has no such argument, or a value does not fit.
    """
    return build_from(LOSSES, settings, activation, regions, spacing)


def check_loss(settings: Settings) -> None:
    """Build the loss for classes or for regions, so that a mistake shows before any work is done.

    Raises
    ------
    ConfigError
        If it can be built for neither.
    """
    try:
        build_loss(settings, "softmax")
    except ConfigError as mistake:
        try:
            build_loss(settings, "sigmoid", ((1,),))
        except ConfigError:
            raise mistake from None
