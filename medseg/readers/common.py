"""What the readers share: file stems, ids, and the last look at a list of cases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.case import Case
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.registry import nearest

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
ENDINGS = (*VOLUME_ENDINGS, *PICTURE_ENDINGS)
SECOND = "second_observer"
"""Key of `Case.extra` under which a second person's mask stands."""
SHOWN = 8
"""How many names a message lists before it counts the rest."""


def ending(path: Path) -> str | None:
    """Return the image file ending of a path, in lower case; None if it is not an image file."""
    name = path.name.lower()
    return next((e for e in ENDINGS if name.endswith(e)), None)


def stem(path: Path) -> str:
    """Return the file name without its image ending (``a.b.nii.gz`` gives ``a.b``)."""
    known = ending(path)
    return path.name[: -len(known)] if known else path.name


def image_files(folder: Path) -> list[Path]:
    """List the image files of a folder, sorted; hidden ones (``._x`` from a Mac) are left out."""
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())
    return sorted(p for p in files if ending(p))


def label_file(folder: Path, name: str) -> Path | None:
    """Return the image file of ``folder`` whose stem is ``name``."""
    return next((folder / f"{name}{e}" for e in ENDINGS if (folder / f"{name}{e}").is_file()), None)


def matches(root: Path, pattern: str) -> list[Path]:
    """List what a pattern finds below ``root``, sorted.

    Raises
    ------
    ManifestError
        If it is no pattern: it is empty, or starts with ``/``.
    """
    if pattern == ".":
        return [root]
    try:
        return sorted(root.glob(pattern))
    except (NotImplementedError, ValueError, IndexError) as error:
        raise ManifestError(
            f"{root}: '{pattern}' is no pattern of names below this folder ({error}); write one "
            "such as 'images' or '*/image.nii.gz'"
        ) from error


def as_id(text: str) -> str:
    """Turn a relative path or a name into a case id that can name a file.

    Examples
    --------
    >>> as_id("patient 1/scan")
    'patient_1_scan'
    """
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


def some(names: Iterable[object]) -> str:
    """Join names for a message; many are cut short and counted."""
    listed = [str(name) for name in names]
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def checked(cases: Sequence[Case], manifest: Manifest, *, looked_for: str) -> list[Case]:
    """Check ids, leave out what the manifest excludes, and sort by id.

    Parameters
    ----------
    cases : sequence of Case
        What a reader found.
    manifest : Manifest
        Its ``exclude`` is applied.
    looked_for : str
        What the reader looked for, for the message when there is nothing.

    Raises
    ------
    ManifestError
        If there is no case, an id is used twice or cannot name a file, or an excluded id is
        unknown.
    """
    if not cases:
        raise ManifestError(
            f"{manifest.root}: no case found ({looked_for}); point 'root' at the data, or let "
            "'medseg init FOLDER' write the manifest"
        )
    ids = [case.id for case in cases]
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise ManifestError(f"{manifest.root}: case ids used twice: {some(twice)}; rename them")
    odd = [name for name in ids if name != as_id(name)]
    if odd:
        raise ManifestError(
            f"{manifest.root}: case ids that cannot name a file: {some(odd)}; "
            "use letters, digits, '_', '-', '+' and '.'"
        )
    unknown = [name for name in manifest.exclude if name not in ids]
    if unknown:
        hints = "; ".join(f"'{name}': {_hint(name, ids)}" for name in unknown[:SHOWN])
        raise ManifestError(f"{manifest.source}: exclude: no case has the id {hints}")
    kept = [case for case in cases if case.id not in manifest.exclude]
    return sorted((_known_labels(case, manifest) for case in kept), key=lambda case: case.id)


def _hint(name: str, ids: Sequence[str]) -> str:
    """Return the nearest id, or a few of them."""
    hint = nearest(name, ids)
    return hint if hint.startswith("did") else f"known: {some(sorted(ids))}"


def _known_labels(case: Case, manifest: Manifest) -> Case:
    """Check that selected and annotated names stand in the label table."""
    known = [label.name for label in manifest.labels]
    used = [name for part in case.label for name in part.select or ()]
    for name in (*used, *(case.annotated or ())):
        if name not in known:
            raise ManifestError(
                f"case {case.id}: '{name}' is not in the label table of {manifest.name}; "
                f"{nearest(name, known)}"
            )
    if not case.label and case.split is None:
        return replace(case, split="predict")
    return case


def missing_files(cases: Iterable[Case]) -> list[str]:
    """List ``case: path`` of every file or folder that a case names and that is not there."""
    named = [(c.id, [i.path for i in c.image] + [p.path for p in c.label]) for c in cases]
    return [f"{name}: {path}" for name, paths in named for path in paths if not path.exists()]
