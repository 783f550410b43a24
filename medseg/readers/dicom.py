"""A tree of DICOM series, with or without masks, SEG or RTSTRUCT beside them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.case import Case, ImageFile, LabelPart, SegmentRule, VolumeRule
from medseg.errors import FormatError, ManifestError
from medseg.identifiers import Identity
from medseg.io.dicom import SeriesInfo, list_series
from medseg.io.dicom_choice import SeriesRule, fitting_series
from medseg.io.dicom_labels import label_objects
from medseg.io.dicom_series import log_others
from medseg.manifest import Manifest
from medseg.readers.common import SHOWN, as_id, checked, ending, label_file, matches, some, stem
from medseg.readers.patients import hide_ids, hide_words


@dataclass(frozen=True, kw_only=True)
class SeriesFolder:
    """A folder that holds image series directly."""

    path: Path
    series: tuple[SeriesInfo, ...]
    """Those that are wanted; none where a rule was given that none fulfils."""

    @property
    def readable(self) -> bool:
        """Whether any file of a series can be read."""
        return any(info.readable for info in self.series)


def read_dicom(
    root: Path,
    manifest: Manifest,
    *,
    images: str = "**",
    modality: str | None = None,
    series: SeriesRule | None = None,
    volume: VolumeRule | None = None,
    label_dir: str | None = None,
    structures: Mapping[str, tuple[str, ...]] | None = None,
    match: Literal["auto", "name", "code", "number"] = "auto",
    overlap: Literal["refuse", "later"] = "refuse",
    placed_by: Literal["references", "positions"] = "references",
    unlabelled: bool = True,
) -> list[Case]:
    """List one case for each DICOM series; scouts (localisers) are left out.

    A case is named by its folder's path, less the parts that all folders share; where a folder
    holds several series, the description is added. What is passed over is logged. A series of which
    a file is damaged is listed, and set aside when it is read.

    Parameters
    ----------
    root : Path
        Top of the tree.
    manifest : Manifest
        The data set.
    images : str
        Pattern of the folders with image slices, such as ``*/PATIENT_DICOM``.
    modality : str
        Take only series of this DICOM modality (``CT``, ``MR``); others are passed over.
    series : SeriesRule
        Which series of a folder to take, such as ``{modality: CT, description: "*portal*", pick:
        most_slices}``; folders where none fulfils it are passed over. Without it, a folder with an
        annotation must hold one series (of the manifest's modality).
    volume : VolumeRule
        Which volume of a series that holds several of the same slices (echoes, b-values, phases),
        such as ``{b_value: 800}`` or ``{pick: first}``. Without it, each is a case of its own where
        there is no annotation; a series with one must hold one volume.
    label_dir : str
        Where annotations are: ``<label_dir>/<case>``, or a path with ``{case}`` in it, such as
        ``{case}/MASKS_DICOM``; ``labels`` if that folder is there. What stands there may be one
        label file (``<case>.nii.gz``), a folder of PNG or DICOM mask slices, one folder or file
        for each structure, or DICOM SEG and RTSTRUCT objects (``<case>.dcm``, or a folder with
        them, which may be the series' own).
    structures : mapping
        Label name to the names (or patterns) of its mask folders or files:
        ``{tumour: [livertumor*]}``. Without it they are called as the labels are. For SEG and
        RTSTRUCT: label or region name to the segments that mean it.
    match, overlap, placed_by : str
        For SEG and RTSTRUCT; see `medseg.case.SegmentRule`.
    unlabelled : bool
        List series without annotation as cases to be segmented only; else they are errors.

    Raises
    ------
    ManifestError
        If there is no series that is whole, several of a folder share an annotation, or an
        annotation is due and not there.
    """
    if label_dir is None and (root / "labels").is_dir():
        label_dir = "labels"
    fixed = root / label_dir if label_dir and "{case}" not in label_dir else None
    everything = [
        one
        for one in series_folders(root, images, modality, skip=fixed)
        if one.readable or not _about_labels(one.path, root, label_dir)
    ]
    for one in everything:
        hide_words(one.path, [info.identity for info in one.series], manifest)
    folders = [_narrowed(one, series, manifest) for one in everything]
    folders = [folder for folder in folders if folder.series]
    _check_some_whole(folders)
    names = _names(folders, root)
    wanted = structures or {label.name: (label.name,) for label in manifest.labels}
    rule = SegmentRule(
        structures=structures,
        match=match,
        overlap=overlap,
        placed_by=placed_by,
        codes={row.name: row.snomed for row in manifest.labels if row.snomed}
        | {row.name: row.snomed for row in manifest.regions if row.snomed},
        regions={region.name: region.labels for region in manifest.regions},
    )
    cases, bare = [], []
    identities: dict[str, Identity] = {}
    for folder, name in zip(folders, names, strict=True):
        parts = find_labels(root, label_dir, name, wanted, rule) if label_dir else ()
        ids = _series_ids(name, folder.series)
        if not parts:
            bare.append(name)
        elif len(ids) > 1:
            raise ManifestError(
                f"{folder.path}: {len(ids)} series share one annotation: "
                f"{'; '.join(info.describe() for info in folder.series)}. Choose one in the "
                "manifest's options, such as 'series: {description: \"*portal*\"}' (keys: "
                "modality, description, number, pick), or move the others away"
            )
        for case, info in zip(ids, folder.series, strict=True):
            whole = Case(
                id=case,
                image=(ImageFile(path=folder.path, series=info.uid or None, volume=volume),),
                label=parts,
                group=info.patient or None,
            )
            made = volume_cases(whole, info) if not parts and volume is None else [whole]
            identities |= {case.id: info.identity for case in made}
            cases += made
    if bare and not unlabelled:
        raise ManifestError(f"{root}: no annotation under {label_dir} for {some(bare)}; add it")
    asked = f"DICOM series{f' of modality {modality}' if modality else ''} in folders {images}"
    asked += f" that fulfil '{series.describe()}'" if series else ""
    found = [info.describe() for folder in everything for info in folder.series]
    asked += f"; there are {'; '.join(found[:SHOWN])}" if found else ""
    cases, manifest = hide_ids(_with_groups(cases), identities, manifest)
    return checked(cases, manifest, looked_for=asked)


def volume_cases(case: Case, info: SeriesInfo) -> list[Case]:
    """Make a case of each volume of a series; of a series of one volume, the case itself."""
    (file,) = case.image
    return [
        replace(
            case,
            id=as_id(f"{case.id}_{volume.name}"),
            image=(replace(file, volume=volume.rule()),),
        )
        for volume in info.volumes
    ] or [case]


def _check_some_whole(folders: Sequence[SeriesFolder]) -> None:
    """Refuse a tree in which every series is damaged."""
    damages = [info.damage for folder in folders for info in folder.series]
    if damages and damages[0] and all(damages):
        more = f" (and {len(damages) - 1} more series are damaged)" if len(damages) > 1 else ""
        raise ManifestError(f"no series is whole: {damages[0]}{more}")


def _narrowed(folder: SeriesFolder, rule: SeriesRule | None, manifest: Manifest) -> SeriesFolder:
    """Keep the series of a folder that are meant, and log the others."""
    slices = tuple(info for info in folder.series if not info.scout)
    if not folder.readable:
        return folder  # whether it fulfils a rule is not known
    if rule is not None:
        try:
            chosen = fitting_series(folder.path, folder.series, rule)
        except FormatError as error:
            raise ManifestError(str(error)) from error
        kept = tuple(info for info in folder.series if info is chosen)
    else:  # PET beside CT: the manifest says which of them it describes
        same = tuple(info for info in slices if info.modality == manifest.modality)
        kept = same or slices
    log_others(folder.path, kept, folder.series)
    return SeriesFolder(path=folder.path, series=kept)


def series_folders(
    root: Path, images: str = "**", modality: str | None = None, *, skip: Path | None = None
) -> list[SeriesFolder]:
    """List the folders that hold image series, sorted by path."""
    folders = {path for path in matches(root, images) if path.is_dir()}
    found = []
    for path in sorted(folders | ({root} if images == "**" else set())):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden or (skip is not None and path.is_relative_to(skip)):
            continue
        listed = list_series(path).values()
        series = [s for s in listed if modality in (None, s.modality) or not s.readable]
        if series:
            ordered = tuple(sorted(series, key=lambda s: (s.number is None, s.number or 0, s.uid)))
            found.append(SeriesFolder(path=path, series=ordered))
    return found


def _about_labels(path: Path, root: Path, label_dir: str | None) -> bool:
    """Tell whether a folder is where annotations are."""
    place = (label_dir or "").replace("{case}", "*")
    return bool(place) and fnmatch.fnmatch(path.relative_to(root).as_posix(), place)


def _names(folders: Sequence[SeriesFolder], root: Path) -> list[str]:
    """Name folders; a damaged one that lies elsewhere than the others does not change their ids."""
    depths = {len(folder.path.parts) for folder in folders if folder.readable}
    paths = [f.path for f in folders if f.readable or len(f.path.parts) in depths]
    named = dict(zip(paths, folder_ids(paths, root), strict=True))
    return [named.get(f.path) or folder_ids([root, f.path], root)[1] for f in folders]


def folder_ids(folders: Sequence[Path], root: Path) -> list[str]:
    """Name folders by their path below the root, less what all share at either end."""
    parts = [path.relative_to(root).parts for path in folders]
    if len(parts) == 1:
        return [as_id(parts[0][-1] if parts[0] else root.resolve().name)]
    shortest = min((len(p) for p in parts), default=0)
    start = 0
    while start < shortest and len({p[start] for p in parts}) == 1:
        start += 1
    stop = 0
    while stop < shortest - start and len({p[-1 - stop] for p in parts}) == 1:
        stop += 1
    return [as_id("_".join(p[start : len(p) - stop]) or root.resolve().name) for p in parts]


def find_labels(
    root: Path,
    label_dir: str,
    case: str,
    structures: Mapping[str, Sequence[str]],
    rule: SegmentRule | None = None,
) -> tuple[LabelPart, ...]:
    """Find a case's annotation; empty where there is none.

    Parameters
    ----------
    root, label_dir, structures
        See `read_dicom`.
    case : str
        Case id.
    rule : SegmentRule, optional
        What the segments of DICOM objects mean.
    """
    template = label_dir if "{case}" in label_dir else f"{label_dir}/{{case}}"
    place = root / template.replace("{case}", case)
    whole = label_file(place.parent, place.name) if not place.is_dir() else None
    if whole is not None:
        return (LabelPart(path=whole),)
    objects = place if place.is_dir() else place.with_name(f"{place.name}.dcm")
    try:
        found = bool(label_objects(objects))
    except FormatError:
        found = True  # a damaged object: its case is set aside when it is read
    if found:
        return (LabelPart(path=objects, segments=rule),)
    if not place.is_dir():
        return ()
    entries = sorted(p for p in place.iterdir() if not p.name.startswith("."))
    named = tuple(
        LabelPart(path=entry, select={label: ()})
        for label, patterns in structures.items()
        for entry in entries
        if (entry.is_dir() or ending(entry))
        and any(fnmatch.fnmatch(stem(entry).lower(), p.lower()) for p in patterns)
    )
    if named or not any(entry.is_file() for entry in entries):
        return named
    # slices of one mask: any value counts where there is one label, else they hold its values
    only = next(iter(structures)) if len(structures) == 1 else None
    return (LabelPart(path=place, select=None if only is None else {only: ()}),)


def _series_ids(name: str, series: Sequence[SeriesInfo]) -> list[str]:
    """Name the series of one folder by description, by UID where that is not enough."""
    if len(series) == 1:
        return [name]
    ids = [as_id(f"{name}_{info.description or info.modality}") for info in series]
    if len(set(ids)) == len(ids):
        return ids
    return [as_id(f"{name}_{re.sub('[^0-9]', '', info.uid)[-10:]}") for info in series]


def _with_groups(cases: list[Case]) -> list[Case]:
    """Group by patient, unless anonymisation gave all cases the same PatientID."""
    patients = {case.group for case in cases}
    if len(patients) > 1:
        return cases
    return [replace(case, group=None) for case in cases]
