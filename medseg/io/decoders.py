"""The encodings of annotation files, by the name that a manifest gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medseg.case import LabelPart
from medseg.errors import FormatError
from medseg.geometry.volume import Grid
from medseg.io.coco import instances, panoptic
from medseg.io.drawn import Decoded, check_size
from medseg.io.encodings import ade_classes, first_channel, high_byte, packed_colours, thousands
from medseg.io.matlab import bsds_boundaries, coco_stuff_classes, sbd_classes
from medseg.io.outlines import deepfashion2, labelme, via
from medseg.io.raster import Shape2D

PIXELS: Mapping[str, Callable[[Path], NDArray[Any]]] = {
    "rgb": packed_colours,
    "ade_full": ade_classes,
    "first_channel": first_channel,
    "thousands": thousands,
    "high_byte": high_byte,
}
"""Encodings of image files by their bands."""

MATLAB: Mapping[str, Callable[[Path], NDArray[Any]]] = {
    "sbd": sbd_classes,
    "coco_stuff_mat": coco_stuff_classes,
    "bsds": bsds_boundaries,
}
"""Encodings of one MATLAB file per image."""

OUTLINES: Mapping[str, Callable[[Path, Shape2D], Decoded]] = {
    "labelme": labelme,
    "deepfashion2": deepfashion2,
}
"""Encodings of one file per image that draw shapes."""

SHARED: Mapping[str, Callable[[Path, str, Shape2D], Decoded]] = {
    "coco": instances,
    "coco_painted": partial(instances, painted=True),
    "via": via,
}
"""Encodings of one file for many images; ``LabelPart.item`` says which."""

ONE_EACH = ("index", *PIXELS, *MATLAB, *OUTLINES)
"""Encodings of one file per image; ``index`` is one value per pixel and needs no decoder."""

ENCODINGS = (*ONE_EACH, *SHARED, "coco_panoptic")
"""Every encoding."""


def decode(part: LabelPart, grid: Grid) -> tuple[NDArray[Any], Mapping[int, str] | None]:
    """Read an annotation that is not one value per pixel.

    Parameters
    ----------
    part : LabelPart
        With a ``decoder`` of `ENCODINGS`.
    grid : Grid
        Grid of the photograph it belongs to.

    Returns
    -------
    values : integer ndarray of shape (rows, cols)
    names : mapping of int to str, or None
        Name of each value, where the file names its structures.

    Raises
    ------
    FormatError
        If the file cannot be read so, or has another size than the image.
    """
    if grid.ndim != 2:
        raise FormatError(
            f"{part.path}: encoding '{part.decoder}' is for photographs, the image is "
            f"{grid.ndim}-D",
            "leave out 'encoding'",
        )
    shape = (grid.shape[0], grid.shape[1])
    try:
        found = _decoded(part, shape)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(  # JSON and MATLAB files may hold anything
            f"{part.path}: not of the form that encoding '{part.decoder}' reads "
            f"({type(error).__name__}: {error})",
            "export the annotation again, or set the right 'encoding' in the manifest's options",
        ) from error
    check_size(part.path, found.values.shape, shape)
    return found.values, found.names


def _decoded(part: LabelPart, shape: Shape2D) -> Decoded:
    """Choose the decoder and run it."""
    name = part.decoder or ""
    if not part.path.is_file():
        raise FormatError(f"{part.path}: no such file", "mend the path in the manifest")
    if name in PIXELS or name in MATLAB:
        return Decoded(values={**PIXELS, **MATLAB}[name](part.path))
    if name in OUTLINES:
        return OUTLINES[name](part.path, shape)
    if name in SHARED and part.item is not None:
        return SHARED[name](part.path, part.item, shape)
    if name == "coco_panoptic" and part.sidecar is not None:
        return panoptic(part.path, part.sidecar, shape)
    raise ValueError(f"decoder '{name}' with item {part.item} and sidecar {part.sidecar}")
