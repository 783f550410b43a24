"""Folders of images and annotations that belong together by their stems, part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.case import Case, LabelPart
from medseg.errors import ManifestError
from medseg.io.decoders import ONE_EACH
from medseg.manifest import Manifest
from medseg.readers.common import PICTURE_ENDINGS, SECOND, as_id, checked
from medseg.readers.photo import (
    Annotated,
    Role,
    annotation_endings,
    by_key,
    check_encoding,
    check_orphans,
    in_groups,
    label_part,
    photo_case,
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a data set: two folders, and what it is for."""

    images: str
    labels: str | None = None
    """None: the images are only segmented."""
    role: Role = "divide"
    optional: bool = False
    """Leave the part out where its image folder is not there."""


def read_folders(
    root: Path,
    manifest: Manifest,
    *,
    parts: Mapping[str, Part],
    image_suffix: str = "",
    label_suffix: str = "",
    second_suffix: str | None = None,
    encoding: str = "index",
    image_ending: str | None = None,
    recursive: bool = False,
    unlabelled: bool = False,
    group: str | None = None,
    test_groups: tuple[str, ...] = (),
) -> list[Case]:
    """List photographs with annotations of the same name, in one pair of folders or several.

    Parameters
    ----------
    root : Path
        What folders are relative to.
    manifest : Manifest
        The data set.
    parts : mapping
        ``{train: {images: train, labels: trainannot, role: train}, ...}``. Images and labels may
        stand in one folder, told apart by suffix or ending.
    image_suffix, label_suffix : str
        Ends of the stems that are no part of the name: ``_leftImg8bit``, ``_gtFine_labelIds``.
        Only files with them are taken.
    second_suffix : str
        Suffix of a second observer's masks, where they are there; see `other_observer`.
    encoding : str
        How annotations code classes (docs/natural_images.md lists the names).
    image_ending : str
        Only images of this ending, ``.jpg``.
    recursive : bool
        Look into sub-folders; they are part of the name (Cityscapes' cities).
    unlabelled : bool
        List images without annotation as cases to be segmented only; else they are errors.
    group : str
        Regular expression with one group; what it finds in a case's id is its group (a drive, a
        child): cases of one group never stand on both sides of a split.
    test_groups : sequence of str
        Groups that are held out for the test, whatever part they are in.

    Raises
    ------
    ManifestError
        If a part has no image, or orphans; all orphans are named.
    """
    check_encoding(encoding, manifest, ONE_EACH)
    found: list[Annotated] = []
    for name, part in parts.items():
        if not (root / part.images).is_dir():
            if part.optional:
                continue
            raise ManifestError(
                f"{root}: no folder '{part.images}' (part '{name}'); correct 'parts' in the "
                "options, or set its 'optional'"
            )
        images = _images(root / part.images, image_suffix, image_ending, recursive)
        if part.images == part.labels and not image_suffix:  # masks are not images
            marks = [mark for mark in (label_suffix, second_suffix) if mark]
            images = {key: p for key, p in images.items() if not key.endswith(tuple(marks) or "\0")}
        if not images:
            raise ManifestError(
                f"{root / part.images}: no image named *{image_suffix}{image_ending or ''} (part "
                f"'{name}'); correct 'parts', 'image_suffix' or 'image_ending' in the options"
            )
        labels: dict[str, Path] = {}
        if part.labels is not None and part.role != "predict":
            labels = _labels(root / part.labels, label_suffix, encoding, recursive)
            if part.images == part.labels and not label_suffix:
                labels = {key: path for key, path in labels.items() if key in images}
            where = f"{root / part.images} with {root / part.labels}"
            check_orphans(images, labels, where, unlabelled=unlabelled)
        for key, image in images.items():
            label = label_part(labels[key], encoding) if key in labels else None
            found.append(Annotated(id=key, image=image, label=label, role=part.role))
    found = in_groups(_unique(found, root), group, test_groups, manifest)
    cases = [photo_case(one, _second(one, label_suffix, second_suffix)) for one in found]
    return checked(cases, manifest, looked_for="images in 'parts'")


def other_observer(case: Case) -> Case:
    """Return the case with the second observer's mask in place of the first's.

    Raises
    ------
    ManifestError
        If the case has no second observer.
    """
    path = case.extra.get(SECOND)
    if path is None:
        raise ManifestError(
            f"case {case.id}: has no second observer; set 'second_suffix' (reader "
            "'folders'), or 'second_observer' of the case (reader 'table')"
        )
    first = case.label[0]
    second = LabelPart(path=Path(path), select=first.select, decoder=first.decoder)
    return replace(case, label=(second,))


def _images(
    folder: Path, suffix: str, image_ending: str | None, recursive: bool
) -> dict[str, Path]:
    """List images by key."""
    endings = (image_ending.lower(),) if image_ending else PICTURE_ENDINGS
    return by_key(_files(folder, endings, recursive), folder, suffix)


def _labels(folder: Path, suffix: str, encoding: str, recursive: bool) -> dict[str, Path]:
    """List annotation files by key."""
    endings = annotation_endings(encoding)
    files = _files(folder, endings, recursive)
    if endings == PICTURE_ENDINGS and not suffix:  # photographs may lie beside masks
        files = [p for p in files if p.suffix.lower() not in (".jpg", ".jpeg")] or files
    return by_key(files, folder, suffix)


def _files(folder: Path, endings: tuple[str, ...], recursive: bool) -> list[Path]:
    """List the files of a folder that have one of the endings; hidden ones are left out."""
    listed = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in listed
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    )


def _unique(found: list[Annotated], root: Path) -> list[Annotated]:
    """Give each image the shortest id that no other has: its name, or its path."""
    names = [as_id(Path(one.id).name) for one in found]
    if len(set(names)) == len(names):
        return [replace(one, id=name) for one, name in zip(found, names, strict=True)]
    return [
        replace(one, id=as_id(str(one.image.relative_to(root).with_suffix("")))) for one in found
    ]


def _second(one: Annotated, first: str, second: str | None) -> dict[str, str]:
    """Find the second observer's mask."""
    if second is None or one.label is None:
        return {}
    path = one.label.path
    other = path.with_name(f"{path.stem.removesuffix(first)}{second}{path.suffix}")
    return {SECOND: str(other)} if other.is_file() else {}
