"""Arguments that several commands take, and those of commands that leave them to us."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from medseg.pipelines.predict_dicom import add_dicom_arguments
from medseg.pipelines.shown_names import add_identifiers_argument
from medseg.planning.wishes import parse_memory

MAPS = ("foreground", "classes", "entropy", "disagreement")
"""`medseg.inference.maps.MAPS`, which torch need not be imported for."""


def add_arguments(command: str, module: ModuleType, parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of a command: the module's own, else those given here."""
    declare: Callable[[argparse.ArgumentParser], None] | None
    declare = getattr(module, "add_arguments", None)
    (declare or _HERE[command])(parser)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every command takes that reads a config."""
    parser.add_argument(
        "config", metavar="CONFIG", help="a config file, or a shipped config's name"
    )
    parser.add_argument(
        "overrides",
        metavar="key.path=value",
        nargs="*",
        default=[],  # else argparse calls them required
        help="such as train.budget=10min",
    )
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="where data sets are ($MEDSEG_DATA, ./data)"
    )
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: ./runs"
    )
    parser.add_argument("--device", metavar="auto|cpu|cuda[:N]", help="default: compute.device")
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def _add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="a run folder, a model folder, or an export"
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="+",
        type=Path,
        help="files, a folder of files, a folder of DICOM series, or a list (.txt, .csv)",
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", type=Path, required=True, help="where predictions go"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]")
    parser.add_argument(
        "--memory", default="auto", metavar="SIZE",
        help="what a prediction may use on the device, such as 8GB; default: a share of the free",
    )  # fmt: skip
    parser.add_argument(
        "--folds", nargs="+", type=int, default=(), metavar="N", help="default: all, together"
    )
    parser.add_argument(
        "--maps", nargs="+", default=(), metavar="MAP", choices=MAPS,
        help=f"also write {', '.join(MAPS)} into OUT/maps",
    )  # fmt: skip
    parser.add_argument(
        "--report", action="store_true", help="write a page for each case into OUT/report"
    )
    add_identifiers_argument(parser)
    parser.add_argument(
        "--names", type=Path, metavar="FILE",
        help="also write which case is which input (CSV, not in OUT: it may name patients)",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="predict what is there already, whichever model made it",
    )
    parser.add_argument(
        "--watch", action="store_true", help="keep predicting what arrives in the folder INPUT"
    )
    parser.add_argument("--every", default="5s", metavar="TIME", help="how often --watch looks")
    parser.add_argument("--quiet", action="store_true", help="warnings only")
    add_dicom_arguments(parser)


def read_memory(text: str) -> int | None:
    """Return the bytes that ``--memory`` allows; None for ``auto``.

    Raises
    ------
    ConfigError
        If it is no size.
    """
    return None if text == "auto" else round(parse_memory(text, "--memory") * 1e9)


_HERE: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "predict": _add_predict_arguments,
    "check": add_config_arguments,
}
