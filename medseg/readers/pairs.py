"""Two folders (or patterns) of images and labels, paired by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.readers.common import as_id, checked, ending, image_files, matches, some, stem
from medseg.readers.pairing import pair_by_name


def read_pairs(
    root: Path,
    manifest: Manifest,
    *,
    images: str,
    labels: str | Mapping[str, str],
    unlabelled: bool = True,
    group: str | None = None,
) -> list[Case]:
    """List cases from images and labels that are paired by their names.

    Names need not be equal: what all images (or all labels) share at the start or at the end is
    dropped first, so ``ct_07.nii.gz`` goes with ``7_liver-mask.nii.gz``.

    Parameters
    ----------
    root : Path
        What folders and patterns are relative to.
    manifest : Manifest
        The data set.
    images : str
        A folder, or a pattern such as ``*/image.nii.gz``.
    labels : str or mapping
        The same for label files; or label name to the folder of its masks.
    unlabelled : bool
        List images without a label as cases to be segmented only; else they are errors.
    group : str
        Regular expression with one group; what it finds in a case's id is its patient.

    Raises
    ------
    ManifestError
        If a label has no image, or names can be paired in no single way; the files are named.
    """
    folders = {None: labels} if isinstance(labels, str) else dict(labels)
    found = {name: find_files(root, pattern) for name, pattern in folders.items()}
    taken = {path for files in found.values() for path in files}
    pictures = [path for path in find_files(root, images) if path not in taken]
    empty = [images] if not pictures else []
    empty += [pattern for name, pattern in folders.items() if not found[name]]
    if empty:
        raise ManifestError(
            f"{root}: no image file in {some(empty)}; correct 'images' and 'labels' in the options"
        )
    parts: dict[Path, list[LabelPart]] = {}
    for name, files in found.items():
        for image, label in pair_by_name(pictures, files, root).items():
            select = None if name is None else {name: ()}
            parts.setdefault(image, []).append(LabelPart(path=label, select=select))
    alone = [path.name for path in pictures if path not in parts]
    if alone and not unlabelled:
        raise ManifestError(f"{root}: no label for {some(alone)}; add them, or allow 'unlabelled'")
    ids = case_ids(pictures, root)
    cases = [
        Case(
            id=ids[path],
            image=(ImageFile(path=path),),
            label=tuple(parts.get(path, ())),
            group=_group(ids[path], group, manifest),
        )
        for path in pictures
    ]
    return checked(cases, manifest, looked_for=f"images in {images}")


def find_files(root: Path, pattern: str) -> list[Path]:
    """List the image files of a folder, or those that match a pattern, sorted."""
    if (root / pattern).is_dir():
        return image_files(root / pattern)
    files = (p for p in matches(root, pattern) if p.is_file() and not p.name.startswith("."))
    return [p for p in files if ending(p)]


def case_ids(images: list[Path], root: Path) -> dict[Path, str]:
    """Name each image by its stem, or by its path where stems repeat."""
    stems = [stem(path) for path in images]
    if len(set(stems)) == len(stems):
        return {path: as_id(stem(path)) for path in images}
    return {path: as_id(str(path.relative_to(root).with_name(stem(path)))) for path in images}


def _group(case: str, pattern: str | None, manifest: Manifest) -> str | None:
    """Find the patient in a case's id."""
    if pattern is None:
        return None
    match = re.search(pattern, case)
    if match is None or match.re.groups != 1:
        raise ManifestError(
            f"{manifest.source}: options.group: '{pattern}' should have one group and match every "
            f"case id, such as '{case}'"
        )
    return match[1]
