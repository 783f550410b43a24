"""BIDS: images in sub-*/, annotations in derivatives/*/sub-*/ as _dseg or _mask files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.readers.common import as_id, checked, some, stem

Entities = Mapping[str, str]
LABEL_SUFFIXES = ("dseg", "mask")
ABOUT_THE_LABEL = ("label", "desc", "space", "seg", "atlas", "res", "den", "from")


def read_bids(
    root: Path,
    manifest: Manifest,
    *,
    images: tuple[str, ...] = ("T1w",),
    derivatives: str = "derivatives",
    desc: str | None = None,
    unlabelled: bool = True,
) -> list[Case]:
    """List the cases of a BIDS data set.

    Parameters
    ----------
    root : Path
        Folder with ``sub-*``.
    manifest : Manifest
        The data set. A ``label-liver_mask`` file is the label of that name; a ``_dseg`` file, or
        a ``_mask`` without ``label-``, holds the values of the label table.
    images : sequence of str
        Suffix of each channel's images, in the manifest's order (``T1w``, ``FLAIR``, ``ct``).
    derivatives : str
        Folder that is searched for annotations.
    desc : str
        Only annotations with this ``desc-``, where several pipelines or observers left theirs.
    unlabelled : bool
        Also list images without annotation, to be segmented only.

    Raises
    ------
    ManifestError
        If a channel is missing or an annotation is there twice; the cases are named.
    """
    scans = bids_files(root, skip=root / derivatives)
    if not scans:
        scans = bids_files(root / derivatives)
    labels = [
        (path, entities, suffix)
        for path, entities, suffix in bids_files(root / derivatives)
        if suffix in LABEL_SUFFIXES and (desc is None or entities.get("desc") == desc)
    ]
    firsts = [(path, entities) for path, entities, suffix in scans if suffix == images[0]]
    cases, problems = [], []
    for first, entities in firsts:
        channels = [first, *(_sibling(first, images[0], other) for other in images[1:])]
        absent = [path.name for path in channels if not path.is_file()]
        problems += [f"{name} is missing" for name in absent]
        parts = _parts(labels, entities)
        names = [tuple(part.select or ()) for part in parts]
        if len(set(names)) < len(names):
            files = some(part.path.name for part in parts)
            problems.append(f"{first.name} has several annotations ({files}); choose with 'desc'")
        if not parts and not unlabelled:
            problems.append(f"{first.name} has no annotation under {derivatives}")
        cases.append(
            Case(
                id=as_id(stem(first).removesuffix(f"_{images[0]}")),
                image=tuple(ImageFile(path=path) for path in channels),
                label=tuple(parts),
                group=f"sub-{entities['sub']}",
            )
        )
    if problems:
        raise ManifestError(f"{root}: " + "\n  ".join([f"{len(problems)} problem(s)", *problems]))
    return checked(cases, manifest, looked_for=f"sub-*/**/*_{images[0]}.nii.gz")


def bids_files(root: Path, skip: Path | None = None) -> list[tuple[Path, Entities, str]]:
    """List (file, entities, suffix) of the NIfTI files whose names follow BIDS, sorted."""
    found: list[tuple[Path, Entities, str]] = []
    for path in sorted([*root.rglob("sub-*.nii.gz"), *root.rglob("sub-*.nii")]):
        if skip is not None and path.is_relative_to(skip):
            continue
        *pairs, suffix = stem(path).split("_")
        matches = [re.fullmatch(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)", pair) for pair in pairs]
        if all(matches):
            found.append((path, {m[1]: m[2] for m in matches if m}, suffix))
    return found


def _sibling(first: Path, suffix: str, other: str) -> Path:
    """Return the file of another channel: the same name with another suffix."""
    name = first.name.replace(f"_{suffix}.", f"_{other}.")
    return first.with_name(name)


def _parts(labels: list[tuple[Path, Entities, str]], image: Entities) -> list[LabelPart]:
    """Find the annotations that agree with the image in every entity both have."""
    parts = []
    for path, entities, _ in labels:
        own = {key: value for key, value in entities.items() if key not in ABOUT_THE_LABEL}
        if own.items() <= image.items() and own.get("ses") == image.get("ses"):
            name = entities.get("label")
            parts.append(LabelPart(path=path, select={name: ()} if name else None))
    return parts
