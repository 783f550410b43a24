"""Which prediction goes with which reference, by file name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.artefacts import SetAside
from medseg.errors import ConfigError, FormatError
from medseg.identifiers import Identifiers, concealed
from medseg.pipelines.predict_inputs import stem
from medseg.pipelines.shown_names import hide_file, shown_file

STAGE = "evaluate"
PICTURES = frozenset({".png", ".tif", ".tiff", ".bmp"})
"""Images that can hold a mask; JPEG changes values."""
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class MaskPair:
    """Two masks of one case."""

    case: str
    pred: Path
    reference: Path


@dataclass(frozen=True)
class _Mask:
    """A file and the names it goes by."""

    path: Path
    place: str
    """Path below the folder without suffix, with slashes."""
    alone: bool
    """It is the only mask of its sub-folder."""

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return self.place.rpartition("/")[2]

    @property
    def folder(self) -> str | None:
        """Name of its sub-folder, where no other mask lies there."""
        parent = self.place.rpartition("/")[0].rpartition("/")[2]
        return parent if parent and self.alone else None


Name = Callable[[_Mask], str | None]


def find_pairs(
    predictions: Path, references: Path, identifiers: Identifiers = "drop"
) -> tuple[list[MaskPair], list[SetAside]]:
    """Pair the masks of two folders, or two files.

    Masks (NIfTI, NRRD, MHA, MHD; DICOM SEG and RTSTRUCT; PNG, TIFF, BMP) are paired by their path
    below the folder without suffix; then by file name alone, whatever sub-folder they lie in; then
    by the name of a sub-folder that holds one mask (``case1/mask.nii.gz`` goes with
    ``case1.nii.gz``).

    Parameters
    ----------
    predictions, references : Path
    identifiers : {"drop", "hash", "keep"}
        But for ``keep``, a pair whose name holds what the header of a DICOM mask says of the
        patient is called by a hash; names are paired as they are.

    Returns
    -------
    list of MaskPair, list of SetAside
        In the order of case names; what has no partner, or more than one, is set aside.

    Raises
    ------
    ConfigError
        If a folder is missing, nothing pairs, or images and volumes are mixed.
    """
    for path in (predictions, references):
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder of masks")
    if predictions.is_file() and references.is_file():
        pair = MaskPair(case=_safe(stem(references)), pred=predictions, reference=references)
        return [_shown(pair, identifiers)], []
    pred, label = _masks(predictions), _masks(references)
    if identifiers != "keep":
        for mask in (one for one in (*pred, *label) if one.path.suffix.lower() == ".dcm"):
            hide_file(mask.path)
    pred, label, aside = _without_twins(pred, label)
    pairs: list[MaskPair] = []
    names: list[tuple[Name, Name]] = [
        (lambda m: m.place, lambda m: m.place),
        (lambda m: m.stem, lambda m: m.stem),
        (lambda m: m.stem, lambda m: m.folder),
        (lambda m: m.folder, lambda m: m.stem),
        (lambda m: m.folder, lambda m: m.folder),
    ]
    for of_pred, of_label in names:
        pred_names, label_names = _unique(pred, of_pred), _unique(label, of_label)
        shared = [name for name in pred_names if name in label_names]
        for name in shared:
            guess, truth = pred_names[name], label_names[name]
            pairs.append(MaskPair(case=_safe(name), pred=guess.path, reference=truth.path))
            pred.remove(guess)
            label.remove(truth)
    if not pairs:
        raise ConfigError(_nothing_pairs(predictions, references, pred, label))
    aside += [_alone(mask, "prediction", "reference", references) for mask in pred]
    aside += [_alone(mask, "reference", "prediction", predictions) for mask in label]
    _check_names(pairs)
    _check_one_kind(pairs)
    pairs = [_shown(pair, identifiers) for pair in pairs]
    aside = [replace(r, case=concealed(r.case), reason=concealed(r.reason)) for r in aside]
    return sorted(pairs, key=lambda pair: pair.case), sorted(aside, key=lambda row: row.case)


def _shown(pair: MaskPair, identifiers: Identifiers) -> MaskPair:
    """Call a pair as the headers of its masks allow."""
    masks = (path for path in (pair.reference, pair.pred) if path.suffix.lower() == ".dcm")
    for path in masks:
        pair = replace(pair, case=shown_file(pair.case, path, identifiers))
    return pair


def _masks(root: Path) -> list[_Mask]:
    """List the masks of a folder and its sub-folders, hidden ones left out."""
    from medseg.io.volumes import is_volume_file

    if root.is_file():
        return [_Mask(root, stem(root), alone=True)]
    found = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        if is_volume_file(path) or _is_picture(path) or _is_object(path):
            found.append(path)
    if not found:
        raise ConfigError(
            f"{root}: holds no mask (NIfTI, NRRD, MHA, DICOM SEG or RTSTRUCT, PNG, TIFF or BMP)"
        )
    folders = [path.parent for path in found]
    return [
        _Mask(
            path,
            "/".join((*path.relative_to(root).parts[:-1], stem(path))),
            alone=folders.count(path.parent) == 1,
        )
        for path in found
    ]


def are_objects(pair: MaskPair) -> bool:
    """Tell whether both masks are DICOM SEG or RTSTRUCT."""
    return _is_object(pair.pred) and _is_object(pair.reference)


def _is_object(path: Path) -> bool:
    """Tell whether a file is a DICOM SEG or RTSTRUCT; a damaged one is set aside when read."""
    from medseg.io.dicom_labels import label_objects

    if path.suffix.lower() != ".dcm":
        return False
    try:
        return bool(label_objects(path))
    except FormatError:
        return True


def _without_twins(
    pred: list[_Mask], label: list[_Mask]
) -> tuple[list[_Mask], list[_Mask], list[SetAside]]:
    """Set aside names that several files of one side have (``a.nii.gz`` beside ``a.nrrd``)."""
    aside: dict[str, str] = {}
    for masks, what in ((pred, "predictions"), (label, "references")):
        for mask in masks:
            twins = [other.path.name for other in masks if other.place == mask.place]
            if len(twins) > 1:
                aside[mask.place] = (
                    f"case {mask.place}: {len(twins)} {what} have this name ({', '.join(twins)}); "
                    "keep one of them"
                )
    rows = [SetAside(case=_safe(name), stage=STAGE, reason=why) for name, why in aside.items()]
    kept = [[mask for mask in masks if mask.place not in aside] for masks in (pred, label)]
    return kept[0], kept[1], rows


def _unique(masks: Iterable[_Mask], name_of: Name) -> dict[str, _Mask]:
    """Return masks by name; a name that several have is nobody's."""
    named: dict[str, list[_Mask]] = {}
    for mask in masks:
        name = name_of(mask)
        if name is not None:
            named.setdefault(name, []).append(mask)
    return {name: found[0] for name, found in named.items() if len(found) == 1}


def _alone(mask: _Mask, what: str, lacks: str, where: Path) -> SetAside:
    """Describe a mask without partner."""
    return SetAside(
        case=_safe(mask.place),
        stage=STAGE,
        reason=f"case {mask.place}: a {what} without {lacks}; nothing of this name in "
        f"{where.resolve().name}: add it, or rename one of them",
    )


def _nothing_pairs(
    predictions: Path, references: Path, pred: list[_Mask], label: list[_Mask]
) -> str:
    """Say that no names agree, with examples."""

    def examples(root: Path, masks: list[_Mask]) -> str:
        names = ", ".join(mask.place for mask in masks[:SHOWN])
        return f"{root} ({names}{', ...' if len(masks) > SHOWN else ''})"

    return (
        f"no file name of {examples(predictions, pred)} is one of {examples(references, label)}; "
        "a prediction and its reference have the same name but for the suffix"
    )


def _safe(name: str) -> str:
    """Turn a name into one that a file of the report can have."""
    return re.sub(r'[/\\:*?"<>|\0]', "_", name).lstrip(".") or "_"


def _check_names(pairs: list[MaskPair]) -> None:
    """Refuse two pairs that would have one page."""
    seen: dict[str, MaskPair] = {}
    for pair in pairs:
        if pair.case in seen:
            raise ConfigError(
                f"{seen[pair.case].reference} and {pair.reference} would both be case "
                f"'{pair.case}' in the report; rename one"
            )
        seen[pair.case] = pair


def _check_one_kind(pairs: list[MaskPair]) -> None:
    """Refuse photographs and volumes in one report: px and mm do not add up."""
    kinds = {_is_picture(pair.reference): pair for pair in pairs}
    if len(kinds) > 1:
        raise ConfigError(
            f"{kinds[True].reference} is an image, {kinds[False].reference} a volume; evaluate "
            "images and volumes apart"
        )


def _is_picture(path: Path) -> bool:
    """Tell by name whether a mask is a 2-D image."""
    return path.suffix.lower() in PICTURES
