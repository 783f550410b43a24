"""List files that name the images of each part: CamVid's train.txt, val.txt, test.txt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Case
from medseg.errors import ManifestError
from medseg.io.decoders import ONE_EACH
from medseg.manifest import Manifest
from medseg.readers.common import PICTURE_ENDINGS, as_id, checked, some, stem
from medseg.readers.photo import (
    Annotated,
    Role,
    annotation_endings,
    check_encoding,
    in_groups,
    label_part,
    photo_case,
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One part: its list file, and where its files are."""

    file: str
    """Lines of image and annotation, or of names."""
    images: str | None = None
    """Folder of the images, where the list gives names only or paths of another machine."""
    labels: str | None = None
    role: Role = "divide"
    optional: bool = False
    """Leave the part out where its list file or all its images are not there."""


def read_lists(
    root: Path,
    manifest: Manifest,
    *,
    parts: Mapping[str, Listed],
    label_suffix: str = "",
    encoding: str = "index",
    group: str | None = None,
    test_groups: tuple[str, ...] = (),
) -> list[Case]:
    """List the images that list files name.

    A line is ``image annotation``, or one name. Paths that another machine's lists start with
    (``/SegNet/CamVid/train/x.png``) are found by folder and name, or by name in ``images`` and
    ``labels``.

    Parameters
    ----------
    root : Path
        What paths are relative to.
    manifest : Manifest
        The data set.
    parts : mapping
        ``{train: {file: train.txt, role: train}, ...}``.
    label_suffix : str
        End of the annotations' stems (CamVid's original ``_L``).
    encoding : str
        How annotations code classes.
    group : str
        Regular expression with one group; what it finds in a case's id is its group (a drive).
    test_groups : sequence of str
        Groups that are held out for the test, whatever list they are in.

    Raises
    ------
    ManifestError
        If a list, or a file that it names, is not there; all of them are named.
    """
    check_encoding(encoding, manifest, ONE_EACH)
    finder, found = Finder(root), list[Annotated]()
    for name, part in parts.items():
        if not part.optional or _is_there(finder, part):
            found += _read_part(finder, name, part, label_suffix, encoding)
    cases = [photo_case(one) for one in in_groups(found, group, test_groups, manifest)]
    return checked(cases, manifest, looked_for="list files in 'parts'")


def read_names(path: Path) -> list[tuple[str, ...]]:
    """Return the words of each line that is not blank.

    Raises
    ------
    ManifestError
        If the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); give the list file") from error
    return [tuple(line.split()) for line in text.splitlines() if line.strip()]


class Finder:
    """Finds files by what a list calls them; a folder is looked at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stems: dict[tuple[Path, tuple[str, ...]], dict[str, Path]] = {}

    def find(
        self, named: str, folder: str | None, endings: tuple[str, ...] = PICTURE_ENDINGS
    ) -> Path | None:
        """Return the file: by name or stem in ``folder``, else by its last two parts."""
        path = Path(named)
        if folder is None:
            places = [self.root / Path(*path.parts[-2:]), self.root / path.name]
            return next((place for place in places if place.is_file()), None)
        key = (self.root / folder, endings)
        if key not in self.stems:
            files = (p for p in sorted(key[0].glob("*")) if p.suffix.lower() in endings)
            self.stems[key] = {file.stem: file for file in files}
        return self.stems[key].get(stem(path))


def _is_there(finder: Finder, part: Listed) -> bool:
    """Tell whether an optional part is there at all: its list, and an image on it."""
    if not (finder.root / part.file).is_file():
        return False
    lines = read_names(finder.root / part.file)
    return any(finder.find(line[0], part.images) is not None for line in lines)


def _read_part(
    finder: Finder, name: str, part: Listed, label_suffix: str, encoding: str
) -> list[Annotated]:
    """Find the files of one list."""
    found, missing = [], []
    endings = annotation_endings(encoding)
    for line in read_names(finder.root / part.file):
        image = finder.find(line[0], part.images)
        named = line[1] if len(line) > 1 else line[0]
        if part.labels is not None and not stem(Path(named)).endswith(label_suffix):
            named = stem(Path(named)) + label_suffix
        label = finder.find(named, part.labels, endings)
        missing += [] if image else [line[0]]
        missing += [] if label or part.role == "predict" else [named]
        if image is not None:
            mark = None if label is None else label_part(label, encoding)
            found.append(Annotated(id=as_id(stem(image)), image=image, label=mark, role=part.role))
    if missing:
        raise ManifestError(
            f"{finder.root / part.file}: {len(missing)} file(s) of part '{name}' are not there: "
            f"{some(missing)}; set its 'images' and 'labels' folders, or put the files there"
        )
    return found
