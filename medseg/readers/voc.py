"""PASCAL VOC 2012, with the annotations of SBD where they are wanted (trainaug)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg.case import Case, LabelPart
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.readers.common import as_id, checked, some
from medseg.readers.lists import read_names
from medseg.readers.photo import Annotated, Role, check_encoding, label_part, photo_case

MASKS = ("SegmentationClass", "SegmentationClassAug")


def read_voc(
    root: Path,
    manifest: Manifest,
    *,
    train: Literal["train", "trainaug"] = "train",
    sbd: str | None = None,
    validation: Literal["validate", "test"] = "validate",
    encoding: str = "index",
) -> list[Case]:
    """List the images of VOC 2012 segmentation.

    Parameters
    ----------
    root : Path
        ``VOC2012``: JPEGImages, SegmentationClass, ImageSets/Segmentation.
    manifest : Manifest
        The data set.
    train : {"train", "trainaug"}
        ``trainaug`` adds SBD's images: its train and val together with VOC's train, less VOC's
        val, 10582 in all (the rule of the DeepLab papers). ``trainaug.txt`` is taken where it is
        there.
    sbd : str
        ``benchmark_RELEASE/dataset`` of SBD, relative to the root; masks are then read from its
        ``cls/*.mat``. Without it they stand in ``SegmentationClassAug``.
    validation : {"validate", "test"}
        What VOC's val is for; where it is the test, the training images are divided into folds as
        the manifest says. VOC's test has no public annotation; it is segmented only.
    encoding : str
        ``index``: palette PNGs as released. ``rgb``: colours, listed in the label map.

    Raises
    ------
    ManifestError
        If a list or a file that it names is not there.
    """
    check_encoding(encoding, manifest, ("index", "rgb"))
    dataset = None if sbd is None else root / sbd
    parts: list[tuple[list[str], Role]] = [
        (_train(root, train, dataset), "train" if validation == "validate" else "divide"),
        (_listed(root, "val"), validation),
        (_listed(root, "test"), "predict"),
    ]
    found, missing = [], []
    for names, role in parts:
        for name in names:
            image = root / "JPEGImages" / f"{name}.jpg"
            label = _mask(root, name, dataset, encoding) if role != "predict" else None
            missing += [] if image.is_file() else [f"JPEGImages/{name}.jpg"]
            missing += [] if label or role == "predict" else [f"SegmentationClass/{name}.png"]
            found.append(Annotated(id=as_id(name), image=image, label=label, role=role))
    if missing:
        raise ManifestError(
            f"{root}: {len(missing)} listed file(s) are not there: {some(missing)}; unpack the "
            "archive again, and for trainaug set 'sbd' or fill SegmentationClassAug"
        )
    cases = [photo_case(one) for one in found]
    return checked(cases, manifest, looked_for="ImageSets/Segmentation/{train,val}.txt")


def trainaug(sbd: list[str], train: list[str], val: list[str]) -> list[str]:
    """Return SBD's images and VOC's train, less VOC's val, sorted and each once.

    Examples
    --------
    >>> trainaug(["2008_a", "2008_b"], ["2007_c"], ["2008_b"])
    ['2007_c', '2008_a']
    """
    return sorted({*sbd, *train} - set(val))


def _train(root: Path, kind: str, dataset: Path | None) -> list[str]:
    """Return the names to train on."""
    if kind == "train" or _list_file(root, kind).is_file():
        return _listed(root, kind)
    if dataset is None:
        raise ManifestError(
            f"{root}: no ImageSets/Segmentation/trainaug.txt; put it there, or set 'sbd' to SBD's "
            "folder, whose train.txt and val.txt give it"
        )
    names = [line[0] for part in ("train", "val") for line in read_names(dataset / f"{part}.txt")]
    return trainaug(names, _listed(root, "train"), _listed(root, "val"))


def _list_file(root: Path, name: str) -> Path:
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def _listed(root: Path, name: str) -> list[str]:
    """Return the names in a list; a list that is not there names nothing."""
    path = _list_file(root, name)
    return [line[0] for line in read_names(path)] if path.is_file() else []


def _mask(root: Path, name: str, dataset: Path | None, encoding: str) -> LabelPart | None:
    """Find an image's mask: VOC's own first, which has void borders, then SBD's."""
    for folder in MASKS:
        path = root / folder / f"{name}.png"
        if path.is_file():
            return label_part(path, encoding)
    path = (dataset or root) / "cls" / f"{name}.mat"
    return LabelPart(path=path, decoder="sbd") if path.is_file() else None
