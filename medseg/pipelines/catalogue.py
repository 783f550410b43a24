"""`medseg list KIND`: names that a config or a manifest may use, with what they are."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

KINDS = ("losses", "networks", "metrics", "readers", "stages", "augmentations")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg list``."""
    parser.add_argument("kind", choices=KINDS, metavar="|".join(KINDS), help="which names")


def main(args: argparse.Namespace) -> int:
    """Print the names of one kind, each with the first line of its docstring.

    A network comes with its dimensions, parameters and paper instead, an augmentation with its
    probabilities and settings.
    """
    if args.kind == "networks":
        _print_networks()
        return 0
    if args.kind == "augmentations":
        _print_augmentations()
        return 0
    rows = table_of(args.kind)
    width = max(len(name) for name in rows)
    for name, what in rows.items():
        sys.stdout.write(f"{name:<{width}}  {first_line(what)}\n")
    return 0


def first_line(what: Any) -> str:
    """Return the first line of a docstring as plain words, without marks and references.

    Examples
    --------
    >>> def twice(): "Return ``2 x`` as in `double` [1]_."
    >>> first_line(twice)
    '2 x as in double.'
    """
    line = (inspect.getdoc(what) or "").partition("\n")[0]
    line = re.sub(r"\s*\[\d+\]_|`", "", line)
    line = re.sub(r"^Return (the )?", "", line)
    return line[:1].upper() + line[1:]


def table_of(kind: str) -> Mapping[str, Any]:
    """Return the parts of one kind by name; only that kind is imported."""
    if kind == "metrics":
        return _metrics()
    if kind == "losses":
        from medseg.losses import LOSSES

        return LOSSES
    if kind == "networks":
        from medseg.networks import NETWORKS

        return NETWORKS
    if kind == "readers":
        from medseg.readers import READERS

        return READERS
    from medseg.stages import STAGES

    return STAGES


def _print_networks() -> None:
    """Print a line per network; no weights are made and MONAI is not imported."""
    from medseg.networks.describe import describe_all, describe_wrapped

    rows = (*describe_all(), *describe_wrapped())
    width = max(len(row.name) for row in rows)
    for row in rows:
        line = f"{row.name:<{width}}  {row.dims_text:<6}  {row.size_text:>9}  {row.paper}"
        sys.stdout.write(line + "\n")


def _print_augmentations() -> None:
    """Print a line per transform: its probability in every preset, and its default settings."""
    from medseg.transforms.settings import list_presets, load_preset

    presets = {name: load_preset(name) for name in list_presets()}
    width = max(len(name) for name in presets["default"])
    for name, settings in presets["default"].items():
        shares = ", ".join(f"{p} {preset[name]['p']:g}" for p, preset in presets.items())
        rest = ", ".join(f"{k} {v}" for k, v in settings.items() if k != "p")
        sys.stdout.write(f"{name:<{width}}  p: {shares}{'; ' if rest else ''}{rest}\n")


def _metrics() -> Mapping[str, Any]:
    """Return the columns of metrics.csv that are computed, with what computes them."""
    from medseg.metrics import components, overlap, surface, volume

    return {
        "dice": overlap.dice,
        "iou": overlap.iou,
        "precision": overlap.precision,
        "recall": overlap.recall,
        "hd_mm": surface.SurfaceDistances.hd,
        "hd95_mm": surface.SurfaceDistances.hd_percentile,
        "assd_mm": surface.SurfaceDistances.assd,
        "nsd": surface.SurfaceDistances.nsd,
        "relative_volume_error": volume.relative_volume_error,
        "components": components.count_components,
    }
