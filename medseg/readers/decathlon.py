"""Medical Segmentation Decathlon layout: imagesTr, labelsTr, imagesTs."""

from __future__ import annotations

from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.readers.common import checked, image_files, label_file, some, stem


def read_decathlon(root: Path, manifest: Manifest, *, unlabelled: bool = True) -> list[Case]:
    """List the cases of a Decathlon task.

    Parameters
    ----------
    root : Path
        Folder with ``imagesTr`` and ``labelsTr``; ``dataset.json`` is not needed. Several
        channels stand in one 4-D file.
    manifest : Manifest
        The data set.
    unlabelled : bool
        Also list ``imagesTs``: to be segmented only; with a file of the same name in ``labelsTs``
        it is a test case.

    Raises
    ------
    ManifestError
        If there is no image, or a training image has no label (all are named).
    """
    train = image_files(root / "imagesTr")
    missing = [p.name for p in train if label_file(root / "labelsTr", stem(p)) is None]
    if missing:
        raise ManifestError(
            f"{root}: no file in labelsTr for {some(missing)}; add it or move the image away"
        )
    cases = [_case(p, root / "labelsTr", held_out=False) for p in train]
    if unlabelled:
        cases += [
            _case(p, root / "labelsTs", held_out=True) for p in image_files(root / "imagesTs")
        ]
    return checked(cases, manifest, looked_for="imagesTr/*.nii.gz with labelsTr/*.nii.gz")


def _case(image: Path, labels: Path, *, held_out: bool) -> Case:
    """Pair one image with the label of the same name."""
    label = label_file(labels, stem(image))
    return Case(
        id=stem(image),
        image=(ImageFile(path=image),),
        label=(LabelPart(path=label),) if label else (),
        split=("test" if label else "predict") if held_out else None,
    )
