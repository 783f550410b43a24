"""A model that sees what an earlier model says of the case: earlier ones first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Grid
from medseg.inference.predictor import Predictor
from medseg.preprocessing import Preprocessed
from medseg.previous import add_previous


def network_input(
    predictor: Predictor, ready: Preprocessed, *, case: str, source: Grid
) -> NDArray[np.float32]:
    """Return what a predictor's network takes: the image, and of a cascade the earlier prediction.

    The earlier prediction is the network's own, without post-processing, as it was in training.

    Parameters
    ----------
    predictor : Predictor
    ready : Preprocessed
        From the recipe of the predictor's model (`medseg.model_folder.ModelFolder.recipe`).
    case : str
        Id, for messages.
    source : Grid
        Canonical grid of the case.

    Returns
    -------
    float32 ndarray of shape (in_channels, *spatial)

    Raises
    ------
    CaseError
        If the earlier model cannot predict the case.
    ValueError
        If the image was not prepared for the earlier model.
    """
    first = predictor.previous
    if first is None:
        return ready.image
    if ready.earlier is None:
        raise ValueError(f"case {case}: prepare it by the model's recipe, not by its plan alone")
    pred = first.indices(
        network_input(first, ready.earlier, case=case, source=source),
        case=case,
        crop_start=ready.earlier.crop_start,
        crop_stop=ready.earlier.crop_stop,
        source=source,
    )
    classes = len(predictor.scheme.labels)
    return add_previous(ready, pred, classes, coarse_axis=predictor.coarse_axis).image
