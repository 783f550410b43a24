"""Read one case and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import Case
from medseg.errors import CaseError
from medseg.geometry.crop import content_box
from medseg.geometry.volume import Grid
from medseg.io.digest import voxel_digest
from medseg.io.load import load_image, load_label
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.planning.intensity import foreground_samples
from medseg.planning.sources import SourceFile

LEAVE_OUT = "or list the case under 'exclude' in the manifest"
SANE_SPACING_MM = (0.01, 50.0)
"""Spacings outside this range are probably in another unit."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What one case is like; the result of `examine_case`."""

    grid: Grid
    """Canonical grid."""
    orientation: str
    content_start: tuple[int, ...]
    content_stop: tuple[int, ...]
    label_voxels: Mapping[str, int]
    digest: str
    """Hash of image, affine and annotation."""
    image_digest: str
    """Hash of the image's voxels alone: equal for one scan under two names."""
    samples: Path | None
    """``.npy`` of shape (C, n): foreground intensities (`intensity.foreground_samples`)."""
    sample_ranges: tuple[tuple[float, float], ...]
    """Lowest and highest foreground intensity per channel; empty without foreground."""
    warnings: tuple[str, ...]


def examine_case(
    case: Case,
    scheme: LabelScheme,
    channels: tuple[str, ...],
    sources: tuple[SourceFile, ...],
    *,
    out: Path,
) -> Examined:
    """Read image and annotation, check them, and note what planning needs.

    Parameters
    ----------
    case : Case
    scheme : LabelScheme
        The manifest's label table.
    channels : tuple of str
        Names of the channels that the image must have.
    sources : tuple of SourceFile
        The case's files as they were listed.
    out : Path
        Folder for the foreground sample.

    Raises
    ------
    CaseError
        If the case cannot be used: a file that is missing, damaged or of another shape or place
        than the image, values outside the label table, another number of channels, NaN or
        infinite voxels, an image without contrast, or an affine that is none.
    """
    for file in sources:
        if file.size < 0:
            raise CaseError(case.id, f"{file.path} does not exist", f"restore it {LEAVE_OUT}")
    image = load_image(case)
    data, grid = image.volume.data, image.volume.grid
    warnings = [*check_grid(case, grid), *_check_voxels(case, data, channels, grid)]
    start, stop = content_box(data)
    digests = [voxel_digest(data, grid.matrix)]
    voxels: dict[str, int] = {}
    samples: Path | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    if case.label:
        label = load_label(case, scheme, image)
        _check_annotation(case, label)
        voxels = count_labels(label, scheme, case.annotated)
        digests.append(voxel_digest(label))
        if not any(voxels.values()):
            warnings.append("the annotation has no foreground; is it the right file?")
        else:
            samples, ranges = _write_samples(data, label > 0, out)
            warnings += _check_content(label, start, stop)
    return Examined(
        grid=grid,
        orientation=image.orientation,
        content_start=start,
        content_stop=stop,
        label_voxels=voxels,
        digest="-".join(digests),
        image_digest=voxel_digest(np.asarray(data, dtype=np.float32)),
        samples=samples,
        sample_ranges=ranges,
        warnings=tuple(warnings),
    )


def _check_annotation(case: Case, label: NDArray[np.int16]) -> None:
    """Refuse an annotation that says nothing: every voxel is ignored."""
    if (label == IGNORE_INDEX).all():
        raise CaseError(
            case.id,
            f"{', '.join(str(part.path) for part in case.label)}: every voxel of the annotation is "
            "ignored",
            f"check what label_map and ignore_value of the manifest ignore, {LEAVE_OUT}",
        )


def count_labels(
    label: NDArray[np.int16], scheme: LabelScheme, annotated: tuple[str, ...] | None
) -> dict[str, int]:
    """Count the voxels of each label that the annotation covers; absent ones count 0."""
    counts = np.bincount(label[label > 0].ravel(), minlength=len(scheme.labels) + 1)
    return {
        row.name: int(counts[index])
        for index, row in enumerate(scheme.labels, start=1)
        if annotated is None or row.name in annotated
    }


def check_grid(case: Case, grid: Grid) -> list[str]:
    """Refuse an affine that is no grid; warn of a spacing that is probably in another unit."""
    spacing = np.asarray(grid.spacing)
    shown = " x ".join(f"{s:.4g}" for s in spacing)
    finite = bool(np.isfinite(grid.matrix).all())
    volume = abs(np.linalg.det(grid.matrix[:-1, :-1])) if finite else 0.0
    if not volume > 1e-6 * spacing.prod():
        raise CaseError(
            case.id,
            f"{case.image[0].path}: the affine has no volume (spacing {shown})",
            f"write the file again with its true spacing and axes, {LEAVE_OUT}",
        )
    low, high = SANE_SPACING_MM
    if grid.ndim == 3 and (spacing.min() < low or spacing.max() > high):
        return [f"spacing {shown} mm is unusual; is the unit of the file millimetres?"]
    return []


def _check_voxels(
    case: Case, data: NDArray[Any], channels: tuple[str, ...], grid: Grid
) -> list[str]:
    """Refuse wrong channels, NaN and images without contrast."""
    where = ", ".join(str(file.path) for file in case.image)
    if len(data) != len(channels):
        raise CaseError(
            case.id,
            f"{where}: {len(data)} channel(s), the manifest lists {len(channels)} "
            f"({', '.join(channels)})",
            f"correct 'channels' in the manifest or the case's files, {LEAVE_OUT}",
        )
    flat = []
    for channel, name in zip(data, channels, strict=True):
        _check_finite(case, channel, name, grid)
        if channel.min() == channel.max():
            flat.append(name)
    if len(flat) == len(channels):
        raise CaseError(
            case.id,
            f"{where}: every voxel is {data.flat[0]:g}",
            f"export the image again, {LEAVE_OUT}",
        )
    return [f"channel '{name}' has one value everywhere" for name in flat]


def _check_content(
    label: NDArray[np.int16], start: tuple[int, ...], stop: tuple[int, ...]
) -> list[str]:
    """Warn of annotated voxels that the crop to content takes away."""
    inside = label[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    lost = int((label > 0).sum() - (inside > 0).sum())
    if not lost:
        return []
    return [
        f"{lost} annotated voxels lie where the image is zero and is cropped away; is it the "
        "right label? otherwise set resample.crop to false"
    ]


def _check_finite(case: Case, channel: NDArray[Any], name: str, grid: Grid) -> None:
    """Refuse NaN and infinity, naming the first such voxel."""
    if not np.issubdtype(channel.dtype, np.floating):
        return
    finite = np.isfinite(channel)
    if finite.all():
        return
    first = np.unravel_index(int(np.argmin(finite)), channel.shape)
    place = grid.matrix[:-1] @ np.array([*first, 1.0])
    unit = "mm" if grid.ndim == 3 else "px"
    raise CaseError(
        case.id,
        f"{', '.join(str(file.path) for file in case.image)}: channel '{name}' has "
        f"{channel.size - int(finite.sum())} voxels that are NaN or infinite, the first at "
        f"({', '.join(f'{x:.1f}' for x in place)}) {unit}",
        f"replace them by the value of the background, {LEAVE_OUT}",
    )


def _write_samples(
    data: NDArray[Any], foreground: NDArray[np.bool_], out: Path
) -> tuple[Path, tuple[tuple[float, float], ...]]:
    """Write the foreground sample; return it with the exact extremes."""
    path = out / "foreground.npy"
    np.save(path, foreground_samples(data, foreground))
    ranges = []
    for channel in data:
        values = channel[foreground]
        ranges.append((float(values.min()), float(values.max())))
    return path, tuple(ranges)
