"""Recognise images and labels in two folders, in case folders, or side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import ManifestError
from medseg.readers.common import SHOWN, ending, image_files, some, stem
from medseg.readers.layout import Layout, looks_like_labels
from medseg.readers.pairing import pair_by_name
from medseg.readers.survey import holds_labels


def detect_pairs(folder: Path) -> Layout | None:
    """Recognise pairs of image and label files.

    Raises
    ------
    ManifestError
        If there are images, but which of them are labels cannot be told.
    """
    folders = {path: image_files(path) for path in sorted([folder, *_below(folder)])}
    folders = {path: files for path, files in folders.items() if files}
    if not folders:
        return None
    if len(folders) == 1:
        return _side_by_side(folder, *folders.items())
    return _two_folders(folder, folders) or _case_folders(folder, folders)


def _below(folder: Path) -> list[Path]:
    """List the folders up to three levels down, hidden ones left out."""
    found = [p for depth in ("*", "*/*", "*/*/*") for p in folder.glob(depth) if p.is_dir()]
    return [p for p in found if not any(q.startswith(".") for q in p.relative_to(folder).parts)]


def _two_folders(root: Path, folders: dict[Path, list[Path]]) -> Layout | None:
    """Recognise one folder of images, and one of labels or one for each structure."""
    named = [p for p in folders if any(looks_like_labels(x) for x in p.relative_to(root).parts)]
    if not named and len(folders) == 2:
        told = [path for path, files in folders.items() if holds_labels(files)]
        named = told if len(told) == 1 else []
    images = [path for path in folders if path not in named]
    if len(images) != 1 or not named:
        return None
    image = images[0].relative_to(root).as_posix()
    if len(named) == 1:
        label = named[0].relative_to(root).as_posix()
        pair_by_name(folders[images[0]], folders[named[0]], root)
        return Layout(
            reader="pairs",
            what=f"images in {image}, labels in {label}",
            options={"images": image, "labels": label},
        )
    if len({path.parent for path in named}) == 1 and named[0].parent not in (root, images[0]):
        masks = {path.name: path.relative_to(root).as_posix() for path in named}
        return Layout(
            reader="pairs",
            what=f"images in {image}, one folder of masks for each of {', '.join(masks)}",
            options={"images": image, "labels": masks},
            structures=tuple(masks),
        )
    names = [path.relative_to(root).as_posix() for path in named]
    raise ManifestError(
        f"{root}: images in {image}, but several folders of labels: {some(names)}; name the one to "
        "use in a manifest: {reader: pairs, options: {images: ..., labels: ...}}"
    )


def _case_folders(root: Path, folders: dict[Path, list[Path]]) -> Layout | None:
    """Recognise one folder for each case, with an image and a label in it."""
    kinds: Counter[tuple[str, ...]] = Counter()
    for path, files in folders.items():
        kinds[tuple(sorted(file.name.replace(path.name, "*") for file in files))] += 1
    (names, count), *_ = kinds.most_common(1)
    depths = {len(path.relative_to(root).parts) for path in folders}
    if len(names) != 2 or count < len(folders) / 2 or len(depths) != 1:
        return None
    labels = [name for name in names if looks_like_labels(name.replace("*", ""))]
    if len(labels) != 1:
        return None
    above = "*/" * depths.pop()
    image = next(name for name in names if name not in labels)
    return Layout(
        reader="pairs",
        what=f"a folder for each case, with {image} and {labels[0]}",
        options={"images": above + image, "labels": above + labels[0]},
    )


def _side_by_side(root: Path, entry: tuple[Path, list[Path]]) -> Layout | None:
    """Recognise images and labels in one folder, told apart by what is added to the name."""
    folder, files = entry
    stems = {stem(path) for path in files}
    added: Counter[tuple[str, str]] = Counter()
    for path in files:
        longer = [s for s in stems if stem(path) != s and stem(path).startswith(s)]
        if longer:
            rest = stem(path).removeprefix(max(longer, key=len))
            if not rest[0].isalnum():
                added[(rest, ending(path) or "")] += 1
    marked = [key for key in added if looks_like_labels(key[0])]
    choice = marked or [key for key, count in added.most_common(1) if count > 1]
    if not choice:
        if any(path.parent == root for path in files):
            return _by_prefix(root, files)
        return None
    rest, end = max(choice, key=lambda key: added[key])
    where = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    labels = [path for path in files if path.name.endswith(rest + end)]
    bases = {stem(path).removesuffix(rest) for path in labels}
    ends = Counter(ending(path) or "" for path in files if stem(path) in bases)
    others = [r + e for r, e in added if (r, e) != (rest, end)]
    notes = (f"files named *{some(others)} were left out",) if others else ()
    options: dict[str, Any] = {
        "images": f"{where}*{ends.most_common(1)[0][0]}",
        "labels": f"{where}*{rest}{end}",
    }
    return Layout(
        reader="pairs",
        what=f"images {options['images']} beside labels {options['labels']}",
        options=options,
        notes=notes,
    )


def _by_prefix(root: Path, files: Sequence[Path]) -> Layout | None:
    """Recognise ``image_01.png`` beside ``mask_01.png``."""
    heads = Counter("".join(_letters(path.name)) for path in files)
    if len(heads) != 2 or len(set(heads.values())) != 1:
        return None
    labels = [head for head in heads if looks_like_labels(head)]
    if len(labels) != 1:
        return None
    image = next(head for head in heads if head not in labels)
    return Layout(
        reader="pairs",
        what=f"images {image}* beside labels {labels[0]}* in {root.name} ({len(files)} files, such "
        f"as {some(path.name for path in files[: min(2, SHOWN)])})",
        options={"images": f"{image}*", "labels": f"{labels[0]}*"},
    )


def _letters(name: str) -> list[str]:
    """Return the letters that a name starts with."""
    letters = []
    for letter in name:
        if not letter.isalpha():
            break
        letters.append(letter)
    return letters
