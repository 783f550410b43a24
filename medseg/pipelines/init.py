"""``medseg init FOLDER``: look at a folder of images and labels, write what it takes to train."""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import ConfigError
from medseg.labels import Label
from medseg.manifest import Channel, Manifest
from medseg.pipelines.init_photographs import VOID, are_photographs, photograph_settings
from medseg.readers.detect import detect
from medseg.readers.layout import Layout
from medseg.readers.survey import Survey, many_read, survey

FEW = 5
"""Annotated cases below which a person is warned."""
RGB = ("red", "green", "blue")

CONFIG = """\
# {title}: {what}.
#
# Data     {annotated} annotated cases{unlabelled}, described in {manifest}
# Command  medseg run {config}
# Time     train.budget below; longer is better.
# Score    not known yet: see report/index.html of the run.
experiment: {name}
pipeline: {pipeline}
manifest: {manifest}
seed: 0
{settings}train: {{budget: 10min}}
"""

MANIFEST_HEAD = """\
# {title}: {what}.
# Written by 'medseg init': {annotated} annotated cases{unlabelled}; {values}.
#
# Look at   the names of labels and channels, the licence, and whether cases of one patient should
#           be grouped (they must not stand in training and test both).
# Get it    {folder}
# Licence   unknown: write it here
# Cite      unknown: write it here
"""


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """What was found and written."""

    name: str
    layout: Layout
    found: Survey
    manifest: Path
    config: Path
    notes: tuple[str, ...]

    def text(self) -> str:
        """Say it in a few lines, with the next two commands."""
        config = _shown(self.config)
        found = self.found
        lines = [
            f"found     {self.layout.what} (reader '{self.layout.reader}')",
            f"cases     {found.annotated} annotated{_unlabelled(found)}, {found.ndim}-D, "
            f"{found.channels} channel(s), modality {_modality(self.layout, found)}",
            f"labels    {many_read(found)}",
            *(f"note      {note}" for note in self.notes),
            f"wrote     {_shown(self.manifest)}  (names, splits: look it through)",
            f"          {config}",
            "next      medseg check " + config,
            "          medseg run " + config,
        ]
        return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``medseg init`` takes."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images and labels")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="where to write (default: the current folder)"
    )
    parser.add_argument("--name", help="name of the data set (default: the folder's)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def main(args: argparse.Namespace) -> int:
    """Run ``medseg init`` and say what it did."""
    result = init(args.folder, args.out, name=args.name, force=args.force)
    sys.stdout.write(result.text() + "\n")
    return 0


def init(
    folder: Path, out: Path | None = None, *, name: str | None = None, force: bool = False
) -> InitResult:
    """Write a manifest and a config for the data in a folder.

    Parameters
    ----------
    folder : Path
        A Decathlon task, nnU-Net raw data, BIDS with derivatives, a tree of DICOM series with
        masks, or pairs of images and labels.
    out : Path, optional
        Where ``<name>.yaml`` and ``<name>_data.yaml`` go; the current folder.
    name : str, optional
        Name of the data set; the folder's.
    force : bool
        Replace files that are there.

    Raises
    ------
    ManifestError
        If nothing is recognised, or labels cannot be read.
    ConfigError
        If a file to be written is there already.
    """
    out = out or Path()
    name = _plain(name or folder.resolve().name)
    config, manifest = out / f"{name}.yaml", out / f"{name}_data.yaml"
    taken = [str(path) for path in (config, manifest) if path.exists()]
    if taken and not force:
        raise ConfigError(
            f"{' and '.join(taken)} exist already; give --force to replace, or another -o or --name"
        )
    layout = detect(folder)
    found = survey(_cases(folder, layout))
    document, notes = _document(folder, out, name, layout, found)
    words = {
        "title": document["title"],
        "what": layout.what,
        "name": name,
        "annotated": found.annotated,
        "unlabelled": _unlabelled(found),
        "values": many_read(found),
        "manifest": manifest.name,
        "config": config.name,
        "folder": _root(folder, out),
        "pipeline": "natural_image" if are_photographs(found) else "volume",
        "settings": photograph_settings(found),
    }
    out.mkdir(parents=True, exist_ok=True)
    manifest.write_text(MANIFEST_HEAD.format(**words) + _yaml(document), encoding="utf-8")
    config.write_text(CONFIG.format(**words), encoding="utf-8")
    return InitResult(
        name=name,
        layout=layout,
        found=found,
        manifest=manifest,
        config=config,
        notes=(*layout.notes, *notes, *_too_few(found)),
    )


def _cases(folder: Path, layout: Layout) -> list[Any]:
    """List the cases through the reader that will list them later."""
    from medseg.readers import read_cases

    names = layout.structures or ("label",)
    channels = layout.channels or ("image",)
    return read_cases(
        Manifest(
            name=folder.name,
            reader=layout.reader,
            root=folder,
            options=layout.options,
            labels=tuple(Label(value=i, name=n) for i, n in enumerate(names, start=1)),
            channels=tuple(Channel(name=channel) for channel in channels),
            identifiers="drop",
        )
    )


def _document(
    folder: Path, out: Path, name: str, layout: Layout, found: Survey
) -> tuple[dict[str, Any], list[str]]:
    """Return the manifest's keys, and what a person should know."""
    described = layout.described
    labels, ignore, notes = _labels(layout, found)
    document: dict[str, Any] = {
        "title": described.title if described else name,
        "reader": layout.reader,
        "root": _root(folder, out),
    }
    if layout.options:
        document["options"] = dict(layout.options)
    document["modality"] = _modality(layout, found)
    document["channels"] = _channels(layout, found)
    document["labels"] = labels
    if described and described.regions:
        document["regions"] = {key: list(names) for key, names in described.regions.items()}
    if ignore is not None:
        document["ignore_value"] = ignore
    if described and described.licence != "unknown":
        document["licence"] = described.licence
    if described and described.citation:
        document["citation"] = described.citation
    return document, notes


def _labels(layout: Layout, found: Survey) -> tuple[dict[str, int], int | None, list[str]]:
    """Return name to value, the ignore value, and what a person should know."""
    if layout.described and layout.described.labels:
        stated, ignore = dict(layout.described.labels), layout.described.ignore_value
        extra = sorted(set(found.values) - {*stated.values(), ignore})
        for value in extra:
            stated[f"label_{value}"] = value
        notes = [f"values {extra} are not in dataset.json; they were added"] if extra else []
        return stated, ignore, notes
    if layout.structures:
        # masks have no values of their own: theirs must not be those of other cases' label files
        after = max(found.values, default=0) + 1
        named = {n: i for i, n in enumerate(layout.structures, start=after)}
        if not found.values:
            return named, None, []
        mixed = {f"label_{value}": value for value in found.values if value < after}
        note = "some cases have masks by structure, others label files: join labels that mean the"
        return {**mixed, **named}, None, [f"{note} same with 'select' (reader 'table')"]
    if not found.values:
        if layout.reader == "dicom":
            return {"foreground": 1}, None, ["the masks have no name: call them what they are"]
        raise ConfigError("all label files hold 0 only; check that the labels were exported")
    values, ignore = list(found.values), None
    notes = ["the labels' names are not known: call them what they are"]
    if found.picture and len(values) > 1 and values[-1] == VOID and values[-2] < VOID - 1:
        ignore = values.pop()
        notes.append(f"value {VOID} is taken to mean 'no class' (ignore_value)")
    if len(values) == 1:
        return {"foreground": values[0]}, ignore, notes
    if are_photographs(found):
        notes.append(
            "value 0 is taken to mean background; where it is a class as well (every pixel of a "
            "street has one), name all values in 'label_map'"
        )
    return {f"label_{value}": value for value in values}, ignore, notes


def _channels(layout: Layout, found: Survey) -> list[str]:
    """Name as many channels as the images have."""
    if len(layout.channels) == found.channels:
        return list(layout.channels)
    if found.picture and found.channels == len(RGB):
        return list(RGB)
    if found.channels == 1:
        return ["image"]
    return [f"channel_{i}" for i in range(found.channels)]


def _modality(layout: Layout, found: Survey) -> str:
    """Return the modality that the layout states, else the one that the values suggest."""
    stated = layout.modality or (layout.described.modality if layout.described else "unknown")
    return found.modality if stated == "unknown" else stated


def _root(folder: Path, out: Path) -> str:
    """Return the data's folder, relative to the manifest where it lies below it."""
    folder, here = Path(os.path.abspath(folder)), Path(os.path.abspath(out))  # noqa: PTH100
    if folder.is_relative_to(here):
        return folder.relative_to(here).as_posix()
    if here.is_relative_to(folder):
        return Path(os.path.relpath(folder, here)).as_posix()
    return str(folder)


def _too_few(found: Survey) -> list[str]:
    """Say where there are not enough cases to train on some and test on others."""
    if found.annotated >= FEW:
        return []
    return [f"{found.annotated} annotated case(s) are few for a test and a validation set"]


def _plain(name: str) -> str:
    """Turn a folder's name into one for files and experiments."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._-") or "data"


def _unlabelled(found: Survey) -> str:
    return f", {found.unlabelled} without annotation" if found.unlabelled else ""


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    here, full = Path.cwd(), path.resolve()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)


def _yaml(document: dict[str, Any]) -> str:
    """Write keys one below the other, in the order given."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=None)
