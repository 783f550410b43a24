"""One case of a per-case stage, as it runs in a worker process: aside, then renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from medseg.errors import CaseError, FormatError, StageError
from medseg.pipelines.store import Places, put_folder, write_json, write_text

RESULT = "result.json"
"""The case function's return value; its folder is complete when this file is there."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
LEAST_FREE = 2**20
"""Bytes below which a disk is full."""
BEGUN = "begun"
"""Empty file that tells by its time when a call that can be resumed was begun."""


@dataclass(frozen=True)
class Outcome:
    """How one case ended; its result, if any, lies in its folder."""

    case: str
    reason: str | None = None
    trace: str | None = None
    """Traceback of an error that was not foreseen."""
    disk_full: bool = False
    """Whether it is no fault of the case: the results of no other can be written either."""


def result_kind(function: Callable[..., Any]) -> Any:
    """Return the type that a case function returns.

    Raises
    ------
    StageError
        If it has no return annotation, or is no module-level function.
    """
    own = {"return": function.__annotations__.get("return")}  # parameters may name heavy types
    kind = get_type_hints(SimpleNamespace(__annotations__=own), function.__globals__)["return"]
    if kind is type(None) or "<locals>" in function.__qualname__:
        raise StageError(
            f"{function.__module__}.{function.__qualname__} cannot run per case; it must be a "
            "module-level function with a return annotation"
        )
    return kind


def run_case(
    function: Callable[..., Any],
    case: str,
    item: Mapping[str, Any],
    shared: Mapping[str, Any],
    folder: Path,
    places: Places,
) -> Outcome:
    """Call ``function(out=..., **item, **shared)`` and leave its files and result in ``folder``.

    Nothing that the function raises comes out of here but the wish to stop.
    """
    aside = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _call(function, case, item, shared, aside, folder, places)
    except CaseError as error:
        return Outcome(case, str(error))
    except FormatError as error:
        return Outcome(case, str(CaseError(case, error.what, error.mend)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases go on
        reason = f"{type(error).__name__}: {error}"
        return Outcome(case, reason, traceback.format_exc(), is_disk_full(error, aside))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Outcome(case)


def is_disk_full(error: Exception, folder: Path) -> bool:
    """Tell whether an error came because nothing more can be written below a folder.

    NumPy tells of a short write without a number, other libraries by an error of their own.
    """
    if isinstance(error, OSError):
        short = error.errno is None and re.search(r"requested and \d+ written", str(error))
        if short or error.errno in FULL:
            return True
    return shutil.disk_usage(folder).free < LEAST_FREE


def resume_case(
    function: Callable[..., Any],
    case: str,
    item: Mapping[str, Any],
    shared: Mapping[str, Any],
    folder: Path,
    places: Places,
    *,
    fresh_after: float | None = None,
) -> None:
    """Like `run_case`, but in a folder that stays when the call is killed, or raises.

    What was begun before ``fresh_after`` (seconds since the epoch) is thrown away.
    """
    aside = folder.with_name(f"{folder.name}.partial")
    begun = aside / BEGUN
    if fresh_after is not None and begun.is_file() and begun.stat().st_mtime < fresh_after:
        shutil.rmtree(aside)
    aside.mkdir(parents=True, exist_ok=True)
    if not begun.is_file():
        begun.touch()
    _call(function, case, item, shared, aside, folder, places)


def _call(
    function: Callable[..., Any],
    case: str,
    item: Mapping[str, Any],
    shared: Mapping[str, Any],
    aside: Path,
    folder: Path,
    places: Places,
) -> None:
    """Call the function in a folder aside, write its result there and rename the folder."""
    started = time.monotonic()
    result = function(out=aside, **item, **shared)
    text = places.within(aside).dump(result, result_kind(function))
    write_json(aside / "case.json", {"case": case, "seconds": time.monotonic() - started})
    write_text(aside / RESULT, text)
    put_folder(aside, folder)


def read_case(folder: Path, function: Callable[..., Any], places: Places) -> Any:
    """Return the result that `run_case` left in a folder."""
    text = (folder / RESULT).read_text(encoding="utf-8")
    return places.within(folder).load(text, result_kind(function))
