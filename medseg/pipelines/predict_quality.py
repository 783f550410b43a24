"""The Dice to expect of a predicted case, by the calibration in the model folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.ensemble_folder import EnsembleFolder, Model
from medseg.expected import Calibration, Clues, ExpectedDice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medseg.labels import LabelScheme

logger = logging.getLogger(__name__)


def calibrations_of(folder: Model) -> tuple[Calibration, ...]:
    """Read what a model knows of its own quality; nothing of an ensemble of different plans.

    Raises
    ------
    ConfigError
        If the model's ``quality.json`` cannot be read.
    """
    from medseg.reporting.quality import read_quality

    # of an ensemble the parts alone were validated, not their mean
    return () if isinstance(folder, EnsembleFolder) else read_quality(folder.folder)


def expect(
    case: str,
    clues: Clues,
    pred: NDArray[np.int16],
    scheme: LabelScheme,
    calibrations: Sequence[Calibration],
) -> tuple[ExpectedDice, ...]:
    """Judge a finished prediction and say so in the log, in a line.

    Parameters
    ----------
    case : str
        Id, for messages.
    clues : mapping
        Counted while it was predicted.
    pred : int16 ndarray of shape (*spatial)
        Class indices after post-processing.
    scheme : LabelScheme
    calibrations : sequence of Calibration
    """
    from medseg.metrics.expected_dice import clues_left, estimates

    found = estimates(calibrations, clues_left(clues, pred, scheme))
    never = {one.structure for one in calibrations if one.reason}  # told once, for the model
    said = [_in_short(one) for one in found if one.structure not in never]
    if said:
        logger.info("case %s: expected Dice: %s", case, ", ".join(said))
    return found


def _in_short(one: ExpectedDice) -> str:
    """Write an estimate for a line of the log."""
    if one.value is None or one.reason:
        return f"{one.structure} not assessable"
    return f"{one.structure} {one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def tell_of_calibration(calibrations: Sequence[Calibration]) -> None:
    """Say once per model how good its estimates are, and of what there will be none."""
    from medseg.reporting.quality import PERCENT

    for one in calibrations:
        if one.clue is None or one.reason:
            logger.info("expected Dice of %s: not assessable: %s", one.structure, one.reason)
        else:
            logger.info(
                "expected Dice of %s: off by %.3f on average on %d validation cases (guessing "
                "their mean: %.3f); in brackets stands the %d %% interval",
                one.structure,
                one.error,
                one.cases,
                one.error_of_mean,
                PERCENT,
            )
