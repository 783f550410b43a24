"""2-D images (PNG, JPEG, TIFF, BMP) and folders of them <-> Volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.dicom_headers import natural_order

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"})

GREY_MODES = frozenset({"1", "L", "I", "F", "I;16", "I;16B", "I;16L"})


def read_picture(path: Path) -> Volume:
    """Read a photograph or a grey image.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Volume
        ``data`` of shape (1, rows, cols) for grey, (3, rows, cols) for colour (a palette is looked
        up, transparency is dropped); the affine is the 3x3 identity, in px. Pixels are taken as
        stored: an EXIF rotation is not applied, since masks are drawn on stored pixels.

    Raises
    ------
    FormatError
        If the file is damaged, or holds several pages.
    """
    with _open(path) as image:
        if image.mode in GREY_MODES:
            data = _array(image, path)[np.newaxis]
        elif image.mode == "LA":
            data = _array(image.convert("L"), path)[np.newaxis]
        else:
            data = np.moveaxis(_array(image.convert("RGB"), path), -1, 0)
    return Volume(data=data, affine=np.eye(3))


def read_mask(path: Path) -> NDArray[Any]:
    """Read a mask's stored values as an array (rows, cols).

    A palette image gives its palette indices, a 1-bit image 0 and 1. A colour image is taken where
    red, green and blue agree.

    Raises
    ------
    FormatError
        If the file is damaged, holds several pages, or codes classes by colour.
    """
    with _open(path) as image:
        if image.mode in GREY_MODES or image.mode == "P":
            return _array(image, path)
        if image.mode == "LA":
            return _array(image, path)[..., 0]
        colour = _array(image.convert("RGB"), path)
    if (colour != colour[..., :1]).any():
        raise FormatError(
            f"{path}: the mask is in colour, class values are expected; "
            f"it holds {colours_of(colour)}",
            'list the colours in the manifest\'s label_map ({"#808080": sky}) and set '
            "'encoding: rgb' in its options, or convert colours to class values (one grey PNG per "
            "mask)",
        )
    return colour[..., 0]


def read_colours(path: Path) -> NDArray[np.uint8]:
    """Read a mask's colours, uint8 (rows, cols, 3); a palette is looked up.

    Raises
    ------
    FormatError
        If the file is damaged or holds several pages.
    """
    with _open(path) as image:
        colours: NDArray[np.uint8] = _array(image.convert("RGB"), path)
    return colours


def colours_of(colours: NDArray[Any], shown: int = 6) -> str:
    """List the most frequent colours (rows, cols, 3) with their shares, for a message."""
    packed = colours.astype(np.int64) @ np.array([65536, 256, 1])
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts)[:shown]
    rest = f" and {len(values) - shown} more" if len(values) > shown else ""
    return ", ".join(f"#{values[i]:06x} ({counts[i] / packed.size:.1%})" for i in order) + rest


def picture_files(folder: Path) -> list[Path]:
    """List the images of a folder in natural name order; hidden files are left out."""
    return natural_order(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )


def read_mask_stack(files: Sequence[Path]) -> NDArray[Any]:
    """Read equally sized masks as one array (cols, rows, files), in the order given.

    The axes are those of a scan: columns run along x, rows along y.

    Raises
    ------
    FormatError
        If one mask has another size.
    """
    planes = [read_mask(path) for path in files]
    for path, plane in zip(files, planes, strict=True):
        if plane.shape != planes[0].shape:
            raise FormatError(
                f"{path}: size {plane.shape[::-1]} differs from {planes[0].shape[::-1]} of "
                f"{files[0].name}",
                "keep the slices of one scan in one folder",
            )
    return np.stack([plane.T for plane in planes], axis=-1)


def write_image_png(path: Path, volume: Volume) -> Path:
    """Write a 2-D label or image as PNG.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    volume : Volume
        2-D. One channel of 0 to 255 is written as 8-bit grey, up to 65535 as 16-bit grey; three
        channels of 0 to 255 as RGB.

    Returns
    -------
    Path
        ``path``.
    """
    data = volume.data
    low, high = int(data.min()), int(data.max())
    if volume.grid.ndim != 2 or len(data) not in (1, 3) or low < 0:
        raise ValueError(f"{path}: shape {data.shape} with values from {low} is no PNG image")
    if len(data) == 3 or high <= 255:
        pixels = np.moveaxis(data, 0, -1) if len(data) == 3 else data[0]
        Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8))).save(path)
    else:
        Image.fromarray(np.ascontiguousarray(data[0].astype(np.uint16))).save(path)
    return path


def write_palette_png(
    path: Path, values: NDArray[np.integer[Any]], colours: Mapping[int, str]
) -> Path:
    """Write class values as a palette PNG: programs show the colours, the indices are the values.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    values : integer ndarray of shape (rows, cols)
        0 to 255.
    colours : mapping of int to str
        Value to ``#rrggbb``; other values are black.

    Returns
    -------
    Path
        ``path``.
    """
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"{path}: values {values.min()} to {values.max()} are no palette indices")
    palette = bytearray(3 * 256)
    for value, colour in colours.items():
        palette[3 * value : 3 * value + 3] = bytes.fromhex(colour.removeprefix("#"))
    image = Image.fromarray(np.ascontiguousarray(values.astype(np.uint8)))
    image.putpalette(palette)
    image.save(path)
    return path


def _open(path: Path) -> Image.Image:
    """Open an image of one page."""
    try:
        image = Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise FormatError(
            f"{path}: cannot be read as an image ({error})",
            "the file is damaged or not an image: copy it from its source again",
        ) from error
    pages = int(getattr(image, "n_frames", 1))
    if pages > 1:
        image.close()
        raise FormatError(
            f"{path}: holds {pages} pages", "save one image per file, or a volume as NIfTI"
        )
    return image


def _array(image: Image.Image, path: Path) -> NDArray[Any]:
    """Decode the pixels."""
    try:
        array = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise FormatError(
            f"{path}: pixels cannot be decoded ({error})", "copy the file from its source again"
        ) from error
    if array.dtype == bool:
        return array.astype(np.uint8)
    native: NDArray[Any] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native
