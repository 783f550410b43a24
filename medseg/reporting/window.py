"""From stored intensities to what is seen: window and level by modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CT_LEVEL, CT_WIDTH = 40.0, 400.0
"""Soft tissue of the abdomen, in HU."""
NO_IMAGE = "none"
"""Modality of masks without an image: outlines are drawn on an even grey."""
SAMPLE = 2_000_000
"""Voxels from which percentiles are taken; more change nothing that an eye can see."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Intensities shown as black and as white."""

    low: float
    high: float
    text: str
    """The window in words, for the caption."""


def choose_window(image: NDArray[Any], modality: str) -> Window:
    """Choose the window of a case.

    Parameters
    ----------
    image : ndarray of shape (C, *spatial)
        Stored intensities; the first channel is shown.
    modality : str
        ``CT``: level 40 HU, width 400 HU. `NO_IMAGE`: an even grey, for an image of zeros.
        Otherwise the 1st to 99th percentile.
    """
    if modality == NO_IMAGE:
        return Window(low=-1.0, high=1.0, text="no image was given, only the outlines are shown")
    if modality.upper() == "CT":
        return Window(
            low=CT_LEVEL - CT_WIDTH / 2,
            high=CT_LEVEL + CT_WIDTH / 2,
            text=f"window level {CT_LEVEL:.0f} HU, width {CT_WIDTH:.0f} HU",
        )
    values = image[0].ravel()
    values = values[:: max(1, values.size // SAMPLE)]
    low, high = (float(v) for v in np.percentile(values, (1, 99)))
    return Window(
        low=low,
        high=high if high > low else low + 1.0,
        text="window from the 1st to the 99th percentile of the image",
    )


def is_color(image: NDArray[Any]) -> bool:
    """Tell whether an image (C, *spatial) is a colour photograph."""
    return image.ndim == 3 and image.shape[0] == 3


def color_picture(image: NDArray[Any]) -> NDArray[np.float64]:
    """Turn a colour photograph (3, rows, cols) into (rows, cols, 3) in [0, 1]."""
    top = float(image.max())
    white = 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0
    return np.clip(np.moveaxis(image, 0, -1) / white, 0.0, 1.0)
