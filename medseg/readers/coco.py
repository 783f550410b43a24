"""One JSON file for many images: COCO instances, stuff and panoptic, and VIA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Case, LabelPart
from medseg.errors import FormatError, ManifestError
from medseg.io.coco import image_names
from medseg.io.decoders import SHARED
from medseg.io.outlines import via_images
from medseg.manifest import Manifest
from medseg.readers.common import as_id, checked, some
from medseg.readers.photo import Annotated, Role, check_encoding, photo_case

PANOPTIC = "coco_panoptic"


@dataclass(frozen=True, kw_only=True)
class JsonPart:
    """One part of a data set: a JSON file and the folder of its images."""

    file: str
    images: str
    masks: str | None = None
    """Folder of the panoptic PNGs; that beside the JSON, of its name, without it."""
    role: Role = "divide"
    optional: bool = False
    """Leave the part out where its file is not there."""


def read_coco(
    root: Path,
    manifest: Manifest,
    *,
    parts: Mapping[str, JsonPart],
    encoding: str = "coco",
) -> list[Case]:
    """List images that one JSON file annotates; the labels' names are those of its categories.

    Parameters
    ----------
    root : Path
        What paths are relative to.
    manifest : Manifest
        The data set. Its label table, or its label map, lists every category.
    parts : mapping
        ``{train: {file: annotations/instances_train2017.json, images: train2017, role: train}}``.
    encoding : {"coco", "coco_painted", "coco_panoptic", "via"}
        ``coco``: crowds, and pixels that shapes of several categories claim, are ignored;
        ``coco_painted``: the smaller shape is on top.

    Raises
    ------
    ManifestError
        If a file is not there or is no such JSON, or images are missing; they are named.
    """
    check_encoding(encoding, manifest, (*SHARED, PANOPTIC))
    found: list[Annotated] = []
    for name, part in parts.items():
        path = root / part.file
        if part.optional and not path.is_file():
            continue
        names = _names(path, encoding)
        folder = root / part.images
        lost = [one for one in names if not (folder / one).is_file()]
        if lost:
            raise ManifestError(
                f"{path}: {len(lost)} image(s) of part '{name}' are not in {folder}: "
                f"{some(lost)}; correct 'images', or take them out of the file"
            )
        masks = root / part.masks if part.masks is not None else path.with_suffix("")
        for one in names:
            if encoding == PANOPTIC:
                mask = (masks / one).with_suffix(".png")
                label = LabelPart(path=mask, decoder=encoding, sidecar=path)
            else:
                label = LabelPart(path=path, decoder=encoding, item=one)
            key = as_id(str(Path(one).with_suffix("")))
            found.append(Annotated(id=key, image=folder / one, label=label, role=part.role))
    return checked([photo_case(one) for one in found], manifest, looked_for="images in the JSON")


def _names(path: Path, encoding: str) -> list[str]:
    """List the images that a JSON file annotates."""
    try:
        if encoding == "via":
            return [str(one["filename"]) for one in via_images(path)]
        return image_names(path)
    except FormatError as error:
        raise ManifestError(str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path}: not of the form that encoding '{encoding}' reads ({type(error).__name__}: "
            f"{error}); export it again, or set the right 'encoding' in the options"
        ) from error
