"""nnU-Net raw layout: imagesTr/CASE_0000.nii.gz for each channel, labelsTr/CASE.nii.gz."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.readers.common import checked, image_files, label_file, some, stem

CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def read_nnunet(root: Path, manifest: Manifest, *, unlabelled: bool = True) -> list[Case]:
    """List the cases of an nnU-Net raw data set.

    Parameters
    ----------
    root : Path
        A ``DatasetXXX_Name`` folder. Labels, regions and the ignore label of its ``dataset.json``
        are taken where the manifest gives none.
    manifest : Manifest
        The data set; it says how many channels each case must have.
    unlabelled : bool
        Also list ``imagesTs``: to be segmented only; with a file in ``labelsTs`` it is a test
        case.

    Raises
    ------
    ManifestError
        If there is no image, a case lacks a channel, or a training case has no label; all are
        named.
    """
    train = by_case(root / "imagesTr")
    held_out = by_case(root / "imagesTs") if unlabelled else {}
    count = len(manifest.channels)
    wrong = [
        f"{name} has channels {', '.join(sorted(files))}"
        for name, files in {**train, **held_out}.items()
        if sorted(files) != [f"{c:04d}" for c in range(count)]
    ]
    if wrong:
        raise ManifestError(
            f"{root}: {count} channel(s) are due, _0000 to _{count - 1:04d}, but {some(wrong)}; "
            "add the files or correct 'channels' in the manifest"
        )
    missing = [name for name in train if label_file(root / "labelsTr", name) is None]
    if missing:
        raise ManifestError(f"{root}: no file in labelsTr for {some(missing)}; add it")
    cases = [_case(n, f, root / "labelsTr", held_out=False) for n, f in train.items()]
    cases += [_case(n, f, root / "labelsTs", held_out=True) for n, f in held_out.items()]
    return checked(cases, manifest, looked_for="imagesTr/<case>_0000.nii.gz with labelsTr/<case>")


def by_case(folder: Path) -> dict[str, dict[str, Path]]:
    """Return case name to channel number to file; files without a number are left out."""
    cases: dict[str, dict[str, Path]] = {}
    for path in image_files(folder):
        match = CHANNEL.fullmatch(stem(path))
        if match:
            cases.setdefault(match["case"], {})[match["channel"]] = path
    return cases


def _case(name: str, files: dict[str, Path], labels: Path, *, held_out: bool) -> Case:
    """Join the channels of one case with its label."""
    label = label_file(labels, name)
    return Case(
        id=name,
        image=tuple(ImageFile(path=files[channel]) for channel in sorted(files)),
        label=(LabelPart(path=label),) if label else (),
        split=("test" if label else "predict") if held_out else None,
    )
