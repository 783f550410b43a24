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
    """Judge a finished prediction and say so in the log.

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
    from medseg.reporting.quality import estimate_sentences

    found = estimates(calibrations, clues_left(clues, pred, scheme))
    for sentence in estimate_sentences(found, calibrations):
        logger.info("case %s: %s", case, sentence)
    return found
