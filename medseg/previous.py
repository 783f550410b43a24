"""What an earlier model says of a case, as further channels of a later one's input (cascade)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.preprocessing import Preprocessed


def add_previous(
    ready: Preprocessed,
    pred: NDArray[np.int16],
    classes: int,
    *,
    coarse_axis: int | None = None,
) -> Preprocessed:
    """Append a prediction to network input: one channel per class, 1 where it was predicted.

    The prediction is cut to the box of the image and resampled to its grid as an annotation is, so
    that both lie at the same place in the world.

    Parameters
    ----------
    ready : Preprocessed
        The image of the same case, prepared for the later model.
    pred : int16 ndarray of shape (*spatial)
        Class indices on the canonical grid of the case.
    classes : int
        Labels of the scheme, K; background gets no channel.
    coarse_axis : int, optional
        Of the later model's plan; see `medseg.geometry.resample.resample_label`.

    Returns
    -------
    Preprocessed
        Its image has K channels more.

    References
    ----------
    .. [1] Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical
       image segmentation, Nature Methods 18, 2021 (the 3D U-Net cascade).
    """
    from medseg.geometry.resample import resample_label  # scipy can wait

    inside = tuple(slice(a, b) for a, b in zip(ready.crop_start, ready.crop_stop, strict=True))
    moved = resample_label(pred[inside], ready.grid.shape, coarse_axis=coarse_axis)
    image = np.empty((len(ready.image) + classes, *ready.grid.shape), dtype=np.float32)
    image[: len(ready.image)] = ready.image
    for index, channel in enumerate(image[len(ready.image) :], start=1):
        channel[...] = moved == index
    return replace(ready, image=image)
