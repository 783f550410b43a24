"""Tell from its files how a folder is laid out; the first half of ``medseg init``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medseg.errors import ManifestError
from medseg.readers.bids import LABEL_SUFFIXES, bids_files
from medseg.readers.common import image_files, label_file, some, stem
from medseg.readers.describe import describe
from medseg.readers.detect_dicom import detect_dicom
from medseg.readers.detect_pairs import detect_pairs
from medseg.readers.layout import Layout
from medseg.readers.nnunet import by_case


def detect(folder: Path) -> Layout:
    """Find out how a folder is laid out.

    Parameters
    ----------
    folder : Path
        A data set of any known kind.

    Raises
    ------
    ManifestError
        If nothing is recognised; the message lists what was looked for.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; name the folder that holds the data")
    tests: tuple[Callable[[Path], Layout | None], ...] = (
        detect_nnunet,
        detect_decathlon,
        detect_bids,
        detect_dicom,
        detect_pairs,
    )
    for test in tests:
        layout = test(folder)
        if layout is not None:
            return layout
    raise ManifestError(
        f"{folder}: no annotated data set was recognised in it. Looked for:\n"
        "  Decathlon            imagesTr/<case>.nii.gz and labelsTr/<case>.nii.gz\n"
        "  nnU-Net raw          imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz\n"
        "  BIDS                 sub-*/**/*_T1w.nii.gz and derivatives/**/*_dseg.nii.gz or _mask\n"
        "  DICOM                folders of slices, masks in labels/<case> or beside the series\n"
        "  pairs                a folder of images and a folder of labels (NIfTI, NRRD, MHA, PNG,"
        " ...),\n"
        "                       or images and labels side by side with a suffix such as _mask\n"
        f"What is there: {_contents(folder)}.\n"
        "Name the folder that holds one of these, or list the cases in a CSV (reader 'table')"
    )


def _contents(folder: Path) -> str:
    """Say how many images stand where."""
    counts = {path: len(image_files(path)) for path in [folder, *sorted(folder.rglob("*"))]}
    places = [
        f"{count} image file(s) in {path.relative_to(folder).as_posix()}"
        for path, count in counts.items()
        if count
    ]
    return some(places) or "no image file"


def detect_nnunet(folder: Path) -> Layout | None:
    """Recognise nnU-Net raw data: numbered channels, labels without a number."""
    cases = by_case(folder / "imagesTr")
    labelled = [name for name in cases if label_file(folder / "labelsTr", name)]
    if not labelled:
        return None
    described = describe(folder)
    count = max(len(cases[name]) for name in labelled)
    names = described.channels if described and len(described.channels) == count else ()
    numbered = tuple(f"channel_{i}" for i in range(count)) if count > 1 else ()
    return Layout(
        reader="nnunet", what="nnU-Net raw data", described=described, channels=names or numbered
    )


def detect_decathlon(folder: Path) -> Layout | None:
    """Recognise a Decathlon task: images and labels of the same name."""
    images = image_files(folder / "imagesTr")
    if not any(label_file(folder / "labelsTr", stem(path)) for path in images):
        return None
    described = describe(folder)
    return Layout(
        reader="decathlon",
        what="a Medical Segmentation Decathlon task",
        described=described,
        channels=described.channels if described else (),
    )


def detect_bids(folder: Path) -> Layout | None:
    """Recognise BIDS: sub-* files, annotations under derivatives."""
    derivatives = folder / "derivatives"
    marks = [f for f in bids_files(derivatives) if f[2] in LABEL_SUFFIXES]
    scans = bids_files(folder, skip=derivatives) or bids_files(derivatives)
    suffixes = [f[2] for f in scans if f[2] not in LABEL_SUFFIXES]
    if not marks or not suffixes:
        return None
    subjects = {f[1].get("sub") for f in marks}
    counts = {
        suffix: len({f[1].get("sub") for f in scans if f[2] == suffix} & subjects)
        for suffix in sorted(set(suffixes))
    }
    most = max(counts.values())
    full = [suffix for suffix, count in counts.items() if count == most]
    chosen = sorted(full, key=lambda s: (s.lower() != "t1w", s))
    descs = {f[1].get("desc") for f in marks} - {None}
    notes = [
        f"images {s} are not in every subject and were left out" for s in counts if s not in full
    ]
    options: dict[str, Any] = {"images": chosen}
    if len(descs) > 1:
        options["desc"] = sorted(str(d) for d in descs)[0]
        notes.append(
            f"annotations of several kinds (desc {', '.join(sorted(map(str, descs)))}); "
            f"'{options['desc']}' was taken"
        )
    named = sorted({f[1]["label"] for f in marks if "label" in f[1]})
    return Layout(
        reader="bids",
        what="BIDS with derivatives",
        options=options,
        structures=tuple(named),
        channels=tuple(chosen),
        modality="CT" if all(s.lower() == "ct" for s in chosen) else "MR",
        notes=tuple(notes),
    )
