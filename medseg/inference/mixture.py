"""Models of different plans as one: the mean of their probabilities on the grid of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.geometry.volume import Grid
from medseg.inference.cascade import network_input
from medseg.inference.decode import decoder
from medseg.inference.predictor import Predictor
from medseg.labels import LabelScheme
from medseg.preprocessing import Preprocessed

Probabilities = NDArray[np.uint8]
"""Of each class (of each region), shape (num_classes, *spatial); 255 is 1."""


class Mixture:
    """Several predictors, each with an image prepared by its own plan.

    The probabilities of all classes stand at full resolution, a byte per voxel and class for the
    part at work and two for the sum: for many classes on large volumes that is gigabytes.

    Parameters
    ----------
    predictors : sequence of Predictor
        Of the same structures.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self.predictors = tuple(predictors)

    def indices(
        self,
        ready: Sequence[Preprocessed],
        *,
        case: str,
        source: Grid,
        advance: Callable[[float], None] | None = None,
    ) -> NDArray[np.int16]:
        """Predict class indices on the canonical grid of a case.

        Parameters
        ----------
        ready : sequence of Preprocessed
            The case's image as each predictor takes it.
        case : str
            Id, for messages.
        source : Grid
            Canonical grid.
        advance : callable, optional
            Called with the share of the work done since its last call.

        Returns
        -------
        int16 ndarray of shape source.shape
        """
        step = None if advance is None else _share(advance, len(self.predictors))
        return mean_indices(
            [
                class_probabilities(predictor, image, case=case, source=source, advance=step)
                for predictor, image in zip(self.predictors, ready, strict=True)
            ],
            self.predictors[0].scheme,
        )


def _share(advance: Callable[[float], None], parts: int) -> Callable[[float], None]:
    """Turn the progress of one part into that of all."""
    return lambda done: advance(done / parts)


def class_probabilities(
    predictor: Predictor,
    ready: Preprocessed,
    *,
    case: str,
    source: Grid,
    advance: Callable[[float], None] | None = None,
) -> Probabilities:
    """Predict the probability of each class on the canonical grid; background outside the crop."""
    return predictor.predict(
        network_input(predictor, ready, case=case, source=source),
        case=case,
        crop_start=ready.crop_start,
        crop_stop=ready.crop_stop,
        source=source,
        maps=("classes",),
        advance=advance,
    ).maps["classes"]


def mean_indices(probabilities: Sequence[Probabilities], scheme: LabelScheme) -> NDArray[np.int16]:
    """Decode the mean of probabilities: the likeliest class, or the regions above one half.

    Parameters
    ----------
    probabilities : sequence of uint8 ndarray of shape (num_classes, *spatial)
    scheme : LabelScheme

    Returns
    -------
    int16 ndarray of shape (*spatial)

    Examples
    --------
    >>> from medseg.labels import Label
    >>> scheme = LabelScheme(labels=(Label(value=1, name="liver"),))
    >>> sure, unsure = np.array([[0], [255]], np.uint8), np.array([[140], [115]], np.uint8)
    >>> mean_indices([sure, unsure], scheme).tolist()
    [1]
    """
    total = np.zeros(probabilities[0].shape, dtype=np.int16)
    for one in probabilities:
        total += one
    if scheme.activation == "softmax":
        best: NDArray[np.int16] = decoder(scheme)(torch.from_numpy(total)).numpy()
        return best
    pred = np.zeros(total.shape[1:], dtype=np.int16)
    for channel, index in scheme.paint_order():
        pred[2 * total[channel] > 255 * len(probabilities)] = index
    return pred
