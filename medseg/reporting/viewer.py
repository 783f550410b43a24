"""The interactive viewer of a case page: NiiVue and the volumes it shows, inside the page."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Affine, Volume
from medseg.io.nifti_bytes import nifti_gz_bytes
from medseg.labels import PALETTE, LabelScheme
from medseg.metrics.box import union_box
from medseg.reporting.case_report import ViewerFiles, ViewerLabel
from medseg.reporting.planes import TIMES
from medseg.reporting.window import NO_IMAGE, choose_window

NIIVUE = "niivue-0.69.0.umd.js.gz"
MARGIN_MM = 20.0
"""Kept around the structures."""
MOST_VOXELS = 3_800_000
"""Voxels of the volume in the page; it keeps a page of noise below 8 MB."""
MOST_LABELS = 255


@dataclass(frozen=True, kw_only=True)
class ViewerParts:
    """What the template puts into the page, ready to be embedded."""

    source: str
    """NiiVue's script, gzip, base64."""
    image: str
    """``.nii.gz``, base64; also the masks."""
    pred: str
    reference: str | None
    settings: str
    """JSON: window, colours."""
    note: str


def write_viewer(
    image: Volume,
    pred: NDArray[np.int16],
    label: NDArray[np.int16] | None,
    scheme: LabelScheme,
    modality: str,
    folder: Path,
) -> ViewerFiles | None:
    """Write the volumes for the viewer; None for photographs and where there is no image.

    Parameters
    ----------
    image : Volume
        On the canonical grid; its first channel is shown.
    pred, label : int16 ndarray of shape (*spatial)
        Class indices; ignored voxels are shown as background.
    scheme : LabelScheme
    modality : str
    folder : Path
    """
    if image.grid.ndim != 3 or modality == NO_IMAGE or len(scheme.labels) > MOST_LABELS:
        return None
    box = _shown_box(pred, label, image)
    steps = _steps([s.stop - s.start for s in box], image.spacing)
    affine = _thinned_affine(image.affine, [s.start for s in box], steps)
    window = choose_window(image.data, modality)
    reach = window.high - window.low
    low, high = window.low - reach / 2, window.high + reach / 2
    grey = np.clip((_block_mean(image.data[0][box], steps) - low) / (high - low), 0, 1)
    scale = (high - low) / 255
    (folder / "viewer_image.nii.gz").write_bytes(
        nifti_gz_bytes(np.rint(255 * grey).astype(np.uint8), affine, slope=scale, intercept=low)
    )
    for name, indices in (("pred", pred), ("reference", label)):
        if indices is not None:
            shown = np.maximum(_middles(indices[box], steps), 0).astype(np.uint8)
            (folder / f"viewer_{name}.nii.gz").write_bytes(nifti_gz_bytes(shown, affine))
    return ViewerFiles(
        image="viewer_image.nii.gz",
        pred="viewer_pred.nii.gz",
        reference=None if label is None else "viewer_reference.nii.gz",
        labels=label_colors(scheme),
        low=window.low,
        high=window.high,
        note=_note(box, image, steps),
    )


def label_colors(scheme: LabelScheme) -> tuple[ViewerLabel, ...]:
    """Return each label's colour; where labels make up regions, the palette in table order."""
    return tuple(
        ViewerLabel(index=i, name=row.name, color=row.color or PALETTE[(i - 1) % len(PALETTE)])
        for i, row in enumerate(scheme.labels, start=1)
    )


def viewer_parts(
    viewer: ViewerFiles, folder: Path, focus: tuple[float, ...] | None = None
) -> ViewerParts:
    """Read the viewer's files for a page; the crosshair starts at ``focus`` (RAS+ mm)."""
    labels = viewer.labels
    settings = {
        "focus": focus,
        "low": viewer.low,
        "high": viewer.high,
        "index": [0, *(row.index for row in labels)],
        "name": ["", *(row.name for row in labels)],
        "rgb": [[0, 0, 0], *(list(bytes.fromhex(row.color[1:])) for row in labels)],
    }
    return ViewerParts(
        source=_niivue(),
        image=_embedded(folder / viewer.image),
        pred=_embedded(folder / viewer.pred),
        reference=None if viewer.reference is None else _embedded(folder / viewer.reference),
        settings=json.dumps(settings).replace("<", "\\u003c"),
        note=viewer.note,
    )


@cache
def _niivue() -> str:
    """Return the vendored script as base64 of its gzip file."""
    packed = files("medseg.reporting").joinpath("vendor", NIIVUE).read_bytes()
    return base64.b64encode(packed).decode("ascii")


def _embedded(file: Path) -> str:
    """Return a file as base64."""
    return base64.b64encode(file.read_bytes()).decode("ascii")


def _shown_box(
    pred: NDArray[np.int16], label: NDArray[np.int16] | None, image: Volume
) -> tuple[slice, ...]:
    """Return the box around all labels with its margin; the whole scan where there are none."""
    box = union_box(pred) if label is None else union_box(pred, np.maximum(label, 0))
    if box is None:
        return tuple(slice(0, n) for n in pred.shape)
    margins = [int(np.ceil(MARGIN_MM / s)) for s in image.spacing]
    return tuple(
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, m, n in zip(box, margins, pred.shape, strict=True)
    )


def _steps(shape: list[int], spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Thin out the finest axis until the volume is small enough; 1 keeps an axis whole."""
    steps = [1] * len(shape)
    while np.prod([max(1, n // s) for n, s in zip(shape, steps, strict=True)]) > MOST_VOXELS:
        thick = [s * size for s, size in zip(steps, spacing, strict=True)]
        steps[int(np.argmin(thick))] += 1
    return tuple(min(s, n) for s, n in zip(steps, shape, strict=True))


def _thinned_affine(affine: Affine, start: list[int], steps: tuple[int, ...]) -> Affine:
    """Return the affine of blocks of voxels: their middles lie where the blocks' middles do."""
    shift = np.eye(4)
    shift[:3, :3] = np.diag(steps)
    shift[:3, 3] = np.array(start) + (np.array(steps) - 1) / 2
    thinned: Affine = affine @ shift
    return thinned


def _block_mean(channel: NDArray[Any], steps: tuple[int, ...]) -> NDArray[np.float32]:
    """Average blocks of voxels; what is left over at the end is dropped."""
    kept = [n // s for n, s in zip(channel.shape, steps, strict=True)]
    cut = channel[tuple(slice(0, n * s) for n, s in zip(kept, steps, strict=True))]
    parts = [size for n, s in zip(kept, steps, strict=True) for size in (n, s)]
    mean: NDArray[np.float32] = cut.astype(np.float32).reshape(parts).mean(axis=(1, 3, 5))
    return mean


def _middles(indices: NDArray[np.int16], steps: tuple[int, ...]) -> NDArray[np.int16]:
    """Take the middle voxel of each block."""
    places = [np.arange(n // s) * s + s // 2 for n, s in zip(indices.shape, steps, strict=True)]
    middles: NDArray[np.int16] = indices[np.ix_(*places)]
    return middles


def _note(box: tuple[slice, ...], image: Volume, steps: tuple[int, ...]) -> str:
    """Say how the viewer's volume was made from the scan."""
    whole = all(s.stop - s.start == n for s, n in zip(box, image.grid.shape, strict=True))
    text = "The whole scan" if whole else f"The scan within {MARGIN_MM:.0f} mm of the structures"
    if any(s > 1 for s in steps):
        blocks = TIMES.join(map(str, steps))
        text += f", thinned out to blocks of {blocks} voxels: small structures may be missing here"
    return f"{text}; 256 grey levels. Numbers and pictures on this page are from the full scan."
