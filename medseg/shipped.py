"""Find the configs, pipelines and manifests that come with medseg, from a checkout or a wheel."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal, get_args

from medseg.errors import ConfigError
from medseg.registry import nearest

Kind = Literal["configs", "pipelines", "data_manifests"]
KINDS: tuple[str, ...] = get_args(Kind)


def shipped_folder(kind: Kind) -> Path:
    """Return the folder of one kind: the repository's in a checkout, the package's in a wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / kind
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return package / "shipped" / kind


def list_shipped(kind: Kind) -> list[str]:
    """Return the names (without ``.yaml``) of what is shipped, sorted."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.yaml"))


def shipped(kind: Kind, name: str) -> Path:
    """Return the file of a shipped config, pipeline or manifest.

    Parameters
    ----------
    kind : {"configs", "pipelines", "data_manifests"}
        What to look for.
    name : str
        File name, with or without ``.yaml``; a leading ``<kind>/`` is allowed.

    Raises
    ------
    ConfigError
        If nothing of that name is shipped; the message gives the nearest name.
    """
    stem = name.removeprefix(f"{kind}/").removesuffix(".yaml")
    known = list_shipped(kind)
    if stem not in known:
        raise ConfigError(
            f"nothing named '{name}' among the shipped {kind}; {nearest(stem, known)}"
        )
    return shipped_folder(kind) / f"{stem}.yaml"


def find_document(name: str | Path, kind: Kind, *, beside: Path | None = None) -> Path:
    """Return the file that ``name`` means: a path that exists, else a shipped name.

    Parameters
    ----------
    name : str or Path
        A path (absolute, relative to ``beside``, or relative to the working folder), or the name
        of a shipped file.
    kind : {"configs", "pipelines", "data_manifests"}
        Which shipped folder to look in.
    beside : Path, optional
        Folder of the file that mentions ``name``.

    Raises
    ------
    ConfigError
        If there is neither such a file nor such a shipped name.
    """
    path = Path(name).expanduser()
    folders = [Path()] if beside is None else [beside, Path()]
    for folder in folders:
        if (folder / path).is_file():
            return folder / path
    try:
        return shipped(kind, str(name))
    except ConfigError as error:
        hint = str(error)
    for folder in folders:
        if (folder / path).is_dir():
            raise ConfigError(f"{folder / path} is a folder; name a file in it, or a shipped name")
        if near := _near(folder / path):
            raise ConfigError(f"{path}: no such file; did you mean '{near}'?")
    raise ConfigError(f"{path}: no such file, and {hint}")


def _near(path: Path) -> Path | None:
    """Return the YAML file beside a missing one whose name is most like it."""
    there = {file.stem: file for file in path.parent.glob("*.y*ml")}
    close = difflib.get_close_matches(path.name.removesuffix(".yaml"), there, n=1)
    return there[close[0]] if close else None
