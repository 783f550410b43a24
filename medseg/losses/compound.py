"""Weighted sums of losses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.losses.base import Activation, Loss
from medseg.losses.cross_entropy import CrossEntropyLoss
from medseg.losses.dice import DiceLoss


class DiceCELoss(Loss):
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
        super().__init__(activation, regions)
        self.weights = {"dice": weight_dice, "ce": weight_ce}
        self.dice = DiceLoss(
            activation,
            regions,
            batch=batch,
            include_background=include_background,
            smooth=smooth,
        )
        self.ce = CrossEntropyLoss(activation, regions)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the two losses, before weighting, as ``dice`` and ``ce``."""
        return {
            **self.dice.terms(logits, label, annotated=annotated),
            **self.ce.terms(logits, label, annotated=annotated),
        }

    def weight_of(self, term: str) -> float:
        """Return ``weight_dice`` or ``weight_ce``."""
        return self.weights[term]
