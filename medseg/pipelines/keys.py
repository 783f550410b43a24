"""Content keys: when a stage or one case of it has to be computed anew, and when not."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import medseg

LENGTH = 20
"""Hexadecimal characters of a key."""


def digest(*parts: str) -> str:
    """Return the key of some texts.

    Examples
    --------
    >>> len(digest("a", "b")), digest("a", "b") == digest("ab")
    (20, False)
    """
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:".encode() + part.encode())
    return total.hexdigest()[:LENGTH]


def stage_key(stage: Any, settings: str, inputs: Mapping[str, str], token: str = "") -> str:
    """Return the key of a stage's result.

    Parameters
    ----------
    stage : object
        The stage; its class and its code version enter the key.
    settings : str
        Its settings as JSON, free of the run folder's own path.
    inputs : mapping
        Parameter to digest of the artefact that feeds it.
    token : str
        What the stage itself says of the files it reads (``inputs_token``).
    """
    kind = type(stage)
    code = code_version(kind.__module__)
    reads = json.dumps(dict(inputs), sort_keys=True)
    return digest("stage", kind.__qualname__, code, settings, reads, token)


def case_key(function: Callable[..., Any], case: str, arguments: str) -> str:
    """Return the key of one case's result.

    Parameters
    ----------
    function : callable
        What is called; its name and the code version of its module enter the key.
    case : str
        Id of the case.
    arguments : str
        The case's arguments as JSON, free of the run folder's own path.
    """
    code = code_version(function.__module__)
    return digest("case", f"{function.__module__}.{function.__qualname__}", code, case, arguments)


def artefact_digest(text: str, key: str) -> str:
    """Return the digest of an artefact's JSON text.

    A path inside the stage's own folder stands for content that the JSON does not show, so the
    stage's key is part of the digest then.
    """
    return digest(text, key) if '"@stage' in text else digest(text)


@cache
def code_version(module: str) -> str:
    """Return a hash of a module's code and of all code of ours that it imports, directly or not.

    It is taken from the syntax trees, imports inside functions included, without importing
    anything; comments, docstrings and layout do not change it. Templates and tables that lie in
    plain folders beside the code count as code.
    """
    roots = {"medseg", module.split(".")[0]}
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _source(name)
        if name in seen or file is None:
            continue
        tree = ast.parse(file.read_bytes())
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [found for found in _imports(tree, package) if found.split(".")[0] in roots]
        seen[name] = digest(ast.dump(_bare(tree)), *_beside(file))
    return digest(*(f"{name}={seen[name]}" for name in sorted(seen)))


def _source(module: str) -> Path | None:
    """Return the file of a module, without importing it; None where there is none."""
    top, *rest = module.split(".")
    if top == "medseg":
        base = Path(medseg.__file__).parent
    else:
        loaded = sys.modules.get(top)
        places = list(getattr(loaded, "__path__", []))
        if not places:
            file = getattr(sys.modules.get(module), "__file__", None)
            return Path(file) if file else None
        base = Path(places[0])
    path = base.joinpath(*rest)
    for candidate in (path.with_suffix(".py") if rest else None, path / "__init__.py"):
        if candidate is not None and candidate.is_file():
            return candidate
    return None


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the names of modules (and of what may be modules) that code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _bare(tree: ast.Module) -> ast.Module:
    """Drop docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return tree


def _is_text(line: ast.AST) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _beside(file: Path) -> Iterator[str]:
    """Yield the hashes of data files in plain folders (no packages) beside a module's file."""
    folder, root = file.parent, Path(medseg.__file__).parent
    if folder == root or not folder.is_relative_to(root):
        return
    for inner in sorted(folder.iterdir()):
        plain = inner.is_dir() and not inner.name.startswith(("_", "."))
        if plain and not (inner / "__init__.py").exists():
            for path in sorted(p for p in inner.rglob("*") if p.is_file()):
                if path.suffix != ".pyc":
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                    yield f"{path.relative_to(folder)}:{content}"
