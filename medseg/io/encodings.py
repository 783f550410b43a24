"""Pixel encodings: from the bands of a mask image to one whole number per pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.io.picture import read_colours, read_mask


def packed_colours(path: Path) -> NDArray[np.int32]:
    """Read a mask whose colours are classes, each as the number ``0xrrggbb``."""
    red, green, blue = _bands(read_colours(path))
    return (red << 16) | (green << 8) | blue


def ade_classes(path: Path) -> NDArray[np.int32]:
    """Read the class index of a full ADE20K ``_seg.png``: ``R // 10 * 256 + G``; 0 is unlabelled.

    Blue holds instances and the rest of red parts of objects, as the data set's own
    ``utils_ade20k.py`` reads them.
    """
    red, green, _ = _bands(read_colours(path))
    return red // 10 * 256 + green


def panoptic_ids(path: Path) -> NDArray[np.int32]:
    """Read the segment ids of a COCO panoptic PNG: ``R + 256 G + 65536 B``."""
    red, green, blue = _bands(read_colours(path))
    ids: NDArray[np.int32] = red + (green << 8) + (blue << 16)
    return ids


def first_channel(path: Path) -> NDArray[np.int32]:
    """Read the first band of a mask of 8 or 16 bits (SYNTHIA: class, then instance).

    Raises
    ------
    FormatError
        If the file cannot be read.
    """
    import SimpleITK  # the other reader cuts three bands of 16 bits down to 8

    try:
        data = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError as error:
        raise FormatError(
            f"{path}: cannot be read as an image ({str(error).splitlines()[-1]})",
            "copy the file from its source again",
        ) from error
    band = data[..., 0] if data.ndim == 3 else data
    return np.asarray(band, dtype=np.int32)


def thousands(path: Path) -> NDArray[np.int32]:
    """Read the classes of Cityscapes instance ids: class * 1000 + instance, or the class alone."""
    values = read_mask(path).astype(np.int32)
    return np.where(values >= 1000, values // 1000, values)


def high_byte(path: Path) -> NDArray[np.int32]:
    """Read the classes of KITTI instance ids: class * 256 + instance."""
    return read_mask(path).astype(np.int32) >> 8


def _bands(colours: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """Split colours into bands that can be multiplied."""
    return [colours[..., band].astype(np.int32) for band in range(3)]
