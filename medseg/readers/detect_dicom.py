"""Recognise a tree of DICOM series and where its masks are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import FormatError, ManifestError
from medseg.io.dicom import is_dicom
from medseg.io.dicom_headers import NOT_IMAGES, read_header
from medseg.io.dicom_labels import label_objects, object_segments
from medseg.io.segments import Segment
from medseg.readers.common import VOLUME_ENDINGS, ending, some, stem
from medseg.readers.dicom import folder_ids, series_folders
from medseg.readers.layout import Layout, looks_like_labels

Parts = tuple[str, ...]


def detect_dicom(folder: Path) -> Layout | None:
    """Recognise folders of DICOM slices with masks of any form.

    Raises
    ------
    ManifestError
        If there are series and no annotation.
    """
    tree = sorted([folder, *(p for p in folder.rglob("*") if p.is_dir())])
    images = [p for p in tree if _holds_slices(p) and not _about_labels(p, folder)]
    if not images:
        return None
    names = folder_ids(images, folder)
    label_dir = _label_dir(folder, names)
    if label_dir is None:
        raise ManifestError(
            f"{folder}: {len(images)} folder(s) of DICOM slices ({some(names)}) but no annotation. "
            "Put masks in labels/<case>/<structure> (DICOM or PNG slices), labels/<case>.nii.gz or "
            "labels/<case>.dcm (SEG, RTSTRUCT), with the case names above; to segment the series "
            "as they are, use 'medseg predict'"
        )
    options: dict[str, Any] = {"label_dir": label_dir}
    pattern = _image_pattern(folder, images, names)
    if label_dir.startswith("{case}") and pattern is None:
        pattern = "*"
    if pattern is not None:
        options = {"images": pattern, **options}
    kinds = Counter(s.modality for p in images for f in series_folders(p, ".") for s in f.series)
    modality = kinds.most_common(1)[0][0]
    notes = []
    others = [
        p for p in folder.rglob("*") if ending(p) in VOLUME_ENDINGS and not _about_labels(p, folder)
    ]
    if others:
        names_of = some(p.relative_to(folder).as_posix() for p in others)
        notes.append(f"volumes that are not DICOM were left out: {names_of}")
    if len(kinds) > 1:
        options["modality"] = modality
        notes.append(f"series of several modalities ({some(kinds)}); {modality} was taken")
    return Layout(
        reader="dicom",
        what="a tree of DICOM series",
        options=options,
        structures=_structures(folder, label_dir, names),
        modality=modality,
        channels=(modality,),
        notes=tuple(notes),
    )


def _holds_slices(folder: Path) -> bool:
    """Tell by its first files whether a folder holds DICOM, and whether any of it is an image."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    if not any(is_dicom(path) for path in files[:3]):
        return False
    return any(_holds_slice(path) for path in files)


def _holds_slice(path: Path) -> bool:
    """Tell whether a file is a DICOM image; a damaged one is set aside when it is read."""
    try:
        return is_dicom(path) and read_header(path).get("Modality") not in NOT_IMAGES
    except FormatError:
        return False


def _about_labels(path: Path, root: Path) -> bool:
    return any(looks_like_labels(part) for part in path.relative_to(root).parts)


def _label_dir(folder: Path, names: Sequence[str]) -> str | None:
    """Return the place of annotations that serves most cases, with ``{case}`` in it."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        is_label = [looks_like_labels(part) for part in parts]
        if path.is_dir() and _objects(path):
            is_label = [*[False] * (len(parts) - 1), True]
        if not any(is_label) or not (path.is_dir() or ending(path) or _objects(path)):
            continue
        plain = [*parts[:-1], stem(path).removesuffix(".dcm") if path.is_file() else parts[-1]]
        cases = [i for i, part in enumerate(plain) if part in names]
        if not cases:
            continue
        last = max(cases[0], is_label.index(True))
        if last == len(plain) - 1:
            place = [*plain[: cases[0]], "{case}", *plain[cases[0] + 1 :]]
            counts["/".join(place)] += 1
    if not counts:
        return None
    best = counts.most_common(1)[0][0]
    return best.removesuffix("/{case}") if best.endswith("/{case}") else best


def _image_pattern(folder: Path, images: Sequence[Path], names: Sequence[str]) -> str | None:
    """Return one pattern for all image folders, where there is one."""
    patterns = set()
    for path, name in zip(images, names, strict=True):
        parts = list(path.relative_to(folder).parts)
        if name not in parts:
            return None
        parts[parts.index(name)] = "*"
        patterns.add("/".join(parts))
    return patterns.pop() if len(patterns) == 1 else None


def _objects(path: Path) -> tuple[Path, ...]:
    """List the SEG and RTSTRUCT files that a path means; none where one is damaged."""
    try:
        return label_objects(path)
    except FormatError:
        return ()


def _segments(path: Path) -> tuple[Segment, ...]:
    """List the segments of an object; none where it is damaged."""
    try:
        return object_segments(path)
    except FormatError:
        return ()


def _structures(folder: Path, label_dir: str, names: Sequence[str]) -> tuple[str, ...]:
    """Name the structures that have masks of their own, or are segments of DICOM objects."""
    template = label_dir if "{case}" in label_dir else f"{label_dir}/{{case}}"
    found = set()
    for name in names:
        place = folder / template.replace("{case}", name)
        objects = _objects(place) or _objects(place.with_name(f"{place.name}.dcm"))
        if objects:
            found |= {segment.name for path in objects for segment in _segments(path)}
        elif place.is_dir():
            entries = [p for p in place.iterdir() if not p.name.startswith(".")]
            found |= {p.name for p in entries if p.is_dir()}
            found |= {stem(p) for p in entries if ending(p) in VOLUME_ENDINGS}
    return tuple(sorted(found))
