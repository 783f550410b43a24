"""Read a case: its image and its annotation on one canonical grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import CaseError, FormatError
from medseg.geometry.orientation import (
    GridMismatchError,
    axis_codes,
    reorient_to,
    to_closest_ras,
)
from medseg.geometry.volume import Grid, Volume
from medseg.io.classes import StoredValues, classes_of
from medseg.io.contiguous import contiguous
from medseg.io.decoders import decode
from medseg.io.dicom import DicomVolume, SeriesIdentity, choose_series, is_dicom, read_series
from medseg.io.dicom_labels import label_objects, read_label_objects
from medseg.io.picture import SUFFIXES as PICTURE_SUFFIXES
from medseg.io.picture import picture_files, read_mask, read_mask_stack
from medseg.io.volumes import has_pictures_only, read_volume
from medseg.labels import LabelScheme

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadedImage:
    """A case's image, turned to the closest RAS+ axes."""

    volume: Volume
    """All channels; stored integers or float32."""
    stored: Grid
    """Grid of the (first) image file, to which predictions return."""
    orientation: str
    """Axis codes of the stored image, such as ``LPS``; empty for photographs."""
    slice_of_file: tuple[int, ...] | None = None
    """For a DICOM series: stored slice index of each file, files in natural name order."""
    series: SeriesIdentity | None = None
    """For a DICOM series: by what objects refer to it."""


def load_image(case: Case) -> LoadedImage:
    """Read a case's image files and put all channels on one canonical grid.

    Parameters
    ----------
    case : Case
        Later image files may be stored with other axes than the first, not with other voxels.

    Returns
    -------
    LoadedImage

    Raises
    ------
    CaseError
        If a file cannot be read, or two channels do not lie on the same voxels.
    """
    if not case.image:
        raise CaseError(case.id, "has no image file", "list one, or exclude the case")
    stored, dicom = _named(case, _read_image, case.image[0])
    channels = [stored.data]
    for extra in case.image[1:]:
        volume, _ = _named(case, _read_image, extra)
        try:
            channels.append(reorient_to(volume, stored.grid).data)
        except GridMismatchError as error:
            raise CaseError(
                case.id,
                f"{extra.path}: {error}, the image {case.image[0].path}",
                "resample the channels to one grid, or exclude the case",
            ) from error
    data = channels[0] if len(channels) == 1 else np.concatenate(channels)
    volume = to_closest_ras(Volume(data=data, affine=stored.affine))
    return LoadedImage(
        volume=Volume(data=contiguous(volume.data), affine=volume.affine),
        stored=stored.grid,
        orientation=axis_codes(stored.affine) if stored.grid.ndim == 3 else "",
        slice_of_file=None if dicom is None else dicom.slice_of_file,
        series=None if dicom is None else dicom.identity,
    )


def load_label(case: Case, scheme: LabelScheme, image: LoadedImage) -> NDArray[np.int16]:
    """Read a case's annotation as class indices on the image's canonical grid.

    Parameters
    ----------
    case : Case
        With one label part or more; later parts are painted over earlier ones.
    scheme : LabelScheme
        The label table and the ignore value.
    image : LoadedImage
        What `load_image` returned for the case.

    Returns
    -------
    int16 ndarray of shape (*canonical spatial,)
        Class indices, ``IGNORE_INDEX`` where the annotation holds the ignore value.

    Raises
    ------
    CaseError
        If a file cannot be read, does not lie on the image's voxels, or holds values that are not
        in the table.
    """
    if not case.label:
        raise CaseError(case.id, "has no annotation", "list a label file, or exclude the case")
    label: NDArray[np.int16] = np.zeros(image.volume.grid.shape, dtype=np.int16)
    for part in case.label:
        if part.decoder is None and _named(case, label_objects, part.path):
            painted = _named(case, _read_objects, part, scheme, image)
            np.copyto(label, painted, where=painted != 0)
            continue
        if part.decoder is not None:
            values, names = _named(case, decode, part, image.stored)
        else:
            values, names = _named(case, _read_label, part, image), None
        stored = StoredValues(case=case.id, path=part.path, data=values, names=names)
        painted = classes_of(stored, scheme, part.select)
        np.copyto(label, painted, where=painted != 0)
    return label


def _read_image(file: ImageFile) -> tuple[Volume, DicomVolume | None]:
    """Read one image file; for a DICOM series also say what it is known by."""
    if file.path.is_dir() and not has_pictures_only(file.path):
        dicom = read_series(choose_series(file.path, file.series).files, file.volume)
    elif file.path.is_file() and is_dicom(file.path):
        dicom = read_series([file.path], file.volume)
    else:
        return read_volume(file.path, file.series), None
    return dicom.volume, dicom


def _read_objects(part: LabelPart, scheme: LabelScheme, image: LoadedImage) -> NDArray[np.int16]:
    """Read the segments of DICOM objects and turn them onto the image's canonical grid."""
    stored = read_label_objects(part, scheme, image.stored, image.series)
    volume = Volume(data=stored[np.newaxis], affine=image.stored.matrix)
    turned: NDArray[np.int16] = contiguous(reorient_to(volume, image.volume.grid).data)[0]
    return turned


def _read_label(part: LabelPart, image: LoadedImage) -> NDArray[np.generic]:
    """Read one label file and turn its stored values onto the image's canonical grid."""
    mend = "re-export the label on the image's grid, or exclude the case"
    volume = _label_volume(part.path, image)
    if len(volume.data) != 1:
        raise FormatError(
            f"{part.path}: holds {len(volume.data)} channels, a label has one",
            "write one file per structure and list each with 'select'",
        )
    if sorted(volume.grid.shape) != sorted(image.stored.shape) or (
        volume.grid.ndim == 2 and volume.grid.shape != image.stored.shape
    ):
        raise FormatError(
            f"{part.path}: label shape {volume.grid.shape} is not image shape {image.stored.shape}",
            mend,
        )
    try:
        turned: NDArray[np.generic] = contiguous(reorient_to(volume, image.volume.grid).data)[0]
    except GridMismatchError as error:
        raise FormatError(
            f"{part.path}: the label does not lie on the image: {error}", mend
        ) from error
    return turned


def _label_volume(path: Path, image: LoadedImage) -> Volume:
    """Read a label in its stored order; images without a place of their own take the scan's."""
    if path.is_dir() and has_pictures_only(path):
        stack = read_mask_stack(picture_files(path))
        if stack.shape != image.stored.shape:
            raise FormatError(
                f"{path}: {stack.shape[2]} masks of {stack.shape[0]} x {stack.shape[1]} do not fit "
                f"image shape {image.stored.shape} (columns, rows, slices)",
                "give one mask per slice, of the slices' size, or exclude the case",
            )
        if image.slice_of_file is not None:
            stack = stack[:, :, np.argsort(image.slice_of_file)]
        return Volume(data=stack[np.newaxis], affine=image.stored.matrix)
    if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES:
        return Volume(data=read_mask(path)[np.newaxis], affine=np.eye(3))
    return read_volume(path)


def _named(case: Case, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a reader; what is wrong with a file is wrong with the case."""
    try:
        return read(*args, **kwargs)
    except FormatError as error:
        raise CaseError(case.id, error.what, error.mend) from error
