"""What the readers of photographs share: parts of a data set, pairing by stem, and encodings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.case import Case, ImageFile, LabelPart, Split
from medseg.errors import ManifestError
from medseg.io.decoders import ENCODINGS, MATLAB, OUTLINES
from medseg.manifest import Manifest
from medseg.readers.common import PICTURE_ENDINGS, ending, some, stem
from medseg.registry import nearest

Role = Literal["divide", "train", "validate", "test", "predict"]
"""What a part of a data set is for.

``divide`` leaves it to the manifest's ``splits``. Where the data set has a validation set of its
own (``validate``), it is fold 0; what trains beside it is fold 1.
"""

PLACES: Mapping[Role, tuple[Split | None, int | None]] = {
    "divide": (None, None),
    "train": ("train", 1),
    "validate": ("train", 0),
    "test": ("test", None),
    "predict": ("predict", None),
}
"""Split and fold of each role."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image with its annotation, before it becomes a case."""

    id: str
    image: Path
    label: LabelPart | None
    role: Role = "divide"
    group: str | None = None


def photo_case(found: Annotated, extra: Mapping[str, str] | None = None) -> Case:
    """Turn an image with its annotation into a case; without one it is segmented only."""
    role = found.role if found.label is not None else "predict"
    split, fold = PLACES[role]
    return Case(
        id=found.id,
        image=(ImageFile(path=found.image),),
        label=(found.label,) if found.label is not None and role != "predict" else (),
        group=found.group,
        split=split,
        fold=fold,
        extra=dict(extra or {}),
    )


def by_key(files: Sequence[Path], folder: Path, suffix: str) -> dict[str, Path]:
    """Key files by their path below ``folder``, without ending and suffix.

    Parameters
    ----------
    files : sequence of Path
        Those whose stem does not end in ``suffix`` are left out.
    folder : Path
    suffix : str
        End of the stem that is no part of the name, such as ``_gtFine_labelIds``.

    Raises
    ------
    ManifestError
        If two files have one key (``a.png`` beside ``a.jpg``).
    """
    found: dict[str, Path] = {}
    for path in files:
        name = stem(path) if ending(path) else path.stem
        if not name.endswith(suffix) or len(name) == len(suffix):
            continue
        key = path.relative_to(folder).with_name(name.removesuffix(suffix)).as_posix()
        if key in found:
            raise ManifestError(
                f"{folder}: {found[key].name} and {path.name} are both '{key}'; move one of them "
                "away, or set the suffix of the wanted ones"
            )
        found[key] = path
    return found


def check_orphans(
    images: Mapping[str, Path], labels: Mapping[str, Path], where: str, *, unlabelled: bool
) -> None:
    """Refuse annotations without image, and images without annotation unless they may be.

    Raises
    ------
    ManifestError
        With the orphans of both sides.
    """
    lost = [path.name for key, path in labels.items() if key not in images]
    alone = [path.name for key, path in images.items() if key not in labels]
    problems = []
    if lost:
        problems.append(f"{len(lost)} annotation(s) without image: {some(lost)}")
    if alone and not unlabelled:
        problems.append(f"{len(alone)} image(s) without annotation: {some(alone)}")
    if lost and alone and unlabelled:
        problems.append(f"images left over: {some(alone)}")
    if problems:
        raise ManifestError(
            f"{where}: {'; '.join(problems)}; files belong together where their names without "
            "'image_suffix' and 'label_suffix' are equal: mend the suffixes, or move the orphans "
            "away" + ("" if unlabelled else ", or allow 'unlabelled'")
        )


def annotation_endings(encoding: str) -> tuple[str, ...]:
    """Return the endings of annotation files in an encoding, lower case."""
    if encoding in OUTLINES:
        return (".json",)
    return (".mat",) if encoding in MATLAB else PICTURE_ENDINGS


def label_part(path: Path, encoding: str) -> LabelPart:
    """Name a label file with its encoding."""
    return LabelPart(path=path, decoder=None if encoding == "index" else encoding)


def check_encoding(encoding: str, manifest: Manifest, allowed: Sequence[str] = ENCODINGS) -> None:
    """Refuse an encoding that is none.

    Raises
    ------
    ManifestError
        With the nearest name.
    """
    if encoding not in allowed:
        raise ManifestError(
            f"{manifest.source}: options.encoding: no encoding is named '{encoding}'; "
            f"{nearest(encoding, allowed)}"
        )


def in_groups(
    found: Sequence[Annotated], pattern: str | None, tests: Sequence[str], manifest: Manifest
) -> list[Annotated]:
    """Find each case's group in its id, and hold out whole groups for the test.

    Parameters
    ----------
    found : sequence of Annotated
    pattern : str, optional
        Regular expression with one group; without one, nothing changes.
    tests : sequence of str
        Groups whose cases are for the test, whatever part they are in.
    manifest : Manifest
        For messages.

    Raises
    ------
    ManifestError
        If the pattern does not match a case, or no case is of a group of ``tests``.
    """
    if pattern is None and not tests:
        return list(found)
    grouped = []
    for one in found:
        match = re.search(pattern or "", one.id)
        if match is None or match.re.groups != 1:
            raise ManifestError(
                f"{manifest.source}: options.group: '{pattern or ''}' should have one group and "
                f"match every case id, such as '{one.id}'"
            )
        role = "test" if match[1] in tests else one.role
        grouped.append(replace(one, group=match[1], role=role))
    known = sorted({str(one.group) for one in grouped})
    missing = [name for name in tests if name not in known]
    if missing:
        raise ManifestError(
            f"{manifest.source}: options.test_groups: no case is of {some(missing)}; groups: "
            f"{some(known)}"
        )
    return grouped
