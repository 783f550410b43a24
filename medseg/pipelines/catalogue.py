"""`medseg list KIND`: names that a config or a manifest may use, with what they are."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys

TABLES = {
    "losses": ("medseg.losses", "LOSSES"),
    "networks": ("medseg.networks", "NETWORKS"),
    "metrics": ("medseg.metrics", "METRICS"),
    "readers": ("medseg.readers", "READERS"),
    "stages": ("medseg.stages", "STAGES"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg list``."""
    parser.add_argument("kind", choices=TABLES, metavar="KIND", help=", ".join(TABLES))


def main(args: argparse.Namespace) -> int:
    """Print the table of one kind."""
    module, table = TABLES[args.kind]
    rows = getattr(importlib.import_module(module), table)
    width = max(len(name) for name in rows)
    for name, what in rows.items():
        text = what if isinstance(what, str) else inspect.getdoc(what) or ""
        sys.stdout.write(f"{name:<{width}}  {text.partition(chr(10))[0]}\n")
    return 0
