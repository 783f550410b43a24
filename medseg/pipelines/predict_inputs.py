"""What `medseg predict` finds at INPUT: one case per file, group of channel files, or series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.artefacts import SetAside
from medseg.case import Case, ImageFile
from medseg.errors import ConfigError, FormatError

STAGE = "predict"


def find_cases(
    source: Path, channels: Sequence[str], ndim: int
) -> tuple[tuple[Case, ...], tuple[SetAside, ...]]:
    """List the cases of a file or folder, in name order.

    - A file is one case.
    - A folder's volume files (for a model of photographs: its images) are one case each. With
      several channels, one file that holds them all is a case (a 4-D NIfTI, a colour image), and so
      are the files ``<case>_<channel name>`` or ``<case>_0000``, ``<case>_0001``, ... together.
    - Each DICOM series in the folder or below is one case, named by its folder; where a folder
      holds several, by the end of the SeriesInstanceUID too.

    Parameters
    ----------
    source : Path
    channels : sequence of str
        The model's channel names, in order.
    ndim : int
        2 for a model of photographs, else 3.

    Returns
    -------
    tuple of Case, tuple of SetAside
        And what lies there but cannot be a case.

    Raises
    ------
    ConfigError
        If there is nothing to predict, or two cases would have one name.
    """
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder to predict")
    if source.is_file():
        return (Case(id=stem(source), image=(ImageFile(path=source),)),), ()
    files = [p for p in sorted(source.iterdir()) if p.is_file() and _is_image(p, ndim)]
    cases, aside = group_channels(files, channels)
    if ndim == 3:
        series, unreadable = _series_cases(source)
        cases, aside = [*cases, *series], [*aside, *unreadable]
    if not cases and not aside:
        kinds = "PNG, JPEG or TIFF image" if ndim == 2 else "NIfTI, NRRD or MHA file, nor a DICOM"
        raise ConfigError(
            f"{source}: holds no {kinds} to predict; this model was trained on "
            f"{'photographs' if ndim == 2 else 'volumes'}"
        )
    _check_names(cases)
    return tuple(sorted(cases, key=lambda case: case.id)), tuple(aside)


def group_channels(
    files: Iterable[Path], channels: Sequence[str]
) -> tuple[list[Case], list[SetAside]]:
    """Make a case of each file, or of the files that together hold a case's channels.

    Returns
    -------
    list of Case, list of SetAside
        A case that lacks channels is set aside.
    """
    whole: list[Case] = []
    parts: dict[str, dict[int, Path]] = {}
    for path in files:
        name, channel = _split_channel(stem(path), channels)
        if channel is None:
            whole.append(Case(id=name, image=(ImageFile(path=path),)))
        else:
            parts.setdefault(name, {})[channel] = path
    aside = []
    for name, found in parts.items():
        missing = [
            f"{name}_{channels[c]} (or _{c:04d})" for c in range(len(channels)) if c not in found
        ]
        if missing:
            reason = (
                f"case {name}: the file of channel {', '.join(missing)} is missing; the model "
                f"needs {', '.join(channels)}"
            )
            aside.append(SetAside(case=name, stage=STAGE, reason=reason))
        else:
            image = tuple(ImageFile(path=found[c]) for c in range(len(channels)))
            whole.append(Case(id=name, image=image))
    return whole, aside


def stem(path: Path) -> str:
    """Return a file's name without its (double) suffix.

    Examples
    --------
    >>> stem(Path("scans/patient.1.nii.gz")), stem(Path("IM001"))
    ('patient.1', 'IM001')
    """
    name = path.name.removesuffix(".gz") if path.name.endswith(".nii.gz") else path.name
    return Path(name).stem


def _split_channel(name: str, channels: Sequence[str]) -> tuple[str, int | None]:
    """Split ``<case>_<channel>`` into case and channel number, for models of several channels."""
    if len(channels) > 1:
        for number, channel in enumerate(channels):
            for ending in (f"_{channel}", f"_{number:04d}"):
                if name.lower().endswith(ending.lower()) and len(name) > len(ending):
                    return name[: -len(ending)], number
    return name, None


def _is_image(path: Path, ndim: int) -> bool:
    """Tell by name whether a file can be a case of a model."""
    from medseg.io.picture import SUFFIXES
    from medseg.io.volumes import is_volume_file

    if path.name.startswith("."):
        return False
    return is_volume_file(path) if ndim == 3 else path.suffix.lower() in SUFFIXES


def _series_cases(source: Path) -> tuple[list[Case], list[SetAside]]:
    """Make a case of each DICOM series in a folder or below."""
    from medseg.io.dicom import list_series

    cases, aside = [], []
    for folder in [source, *sorted(p for p in source.rglob("*") if p.is_dir())]:
        name = "_".join(folder.relative_to(source).parts) or folder.resolve().name
        try:
            found = list_series(folder)
        except FormatError as error:
            aside.append(SetAside(case=name, stage=STAGE, reason=f"case {name}: {error}"))
            continue
        for uid in found:
            own = name if len(found) == 1 else f"{name}_{uid.rpartition('.')[2]}"
            cases.append(Case(id=own, image=(ImageFile(path=folder, series=uid or None),)))
    return cases, aside


def _check_names(cases: Sequence[Case]) -> None:
    """Refuse two cases that would write the same file."""
    seen: dict[str, Path] = {}
    for case in cases:
        path = case.image[0].path
        if case.id in seen:
            raise ConfigError(
                f"{seen[case.id]} and {path} would both be written as '{case.id}'; rename one, or "
                "predict them into different folders"
            )
        seen[case.id] = path
