"""`medseg plan CONFIG`: what every `auto` became, by which rule, from which data."""

from __future__ import annotations

import argparse
from typing import Any

from medseg.pipelines.arguments import add_config_arguments
from medseg.pipelines.logs import logging_to_stderr

PAGE_WIDTH = 160
"""Columns where the output is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg plan``."""
    add_config_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run up to the stage that plans, and print its decisions.

    Raises
    ------
    ConfigError
        If no stage of the pipeline plans.
    """
    from rich.console import Console
    from rich.table import Column, Table

    from medseg.artefacts import Plan
    from medseg.errors import ConfigError
    from medseg.pipelines.build import load_experiment
    from medseg.pipelines.options import Options
    from medseg.pipelines.runner import Runner
    from medseg.pipelines.wiring import wire

    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        experiment = load_experiment(
            args.config, args.overrides, data_root=args.data_root, runs_dir=args.runs_dir
        )
        planner = next(
            (n for n in wire(experiment.stages, experiment.inputs) if n.kind is Plan), None
        )
        if planner is None:
            raise ConfigError(f"{experiment.source}: no stage of its pipeline writes a plan")
        options = Options(
            runs_dir=args.runs_dir, device=args.device, until=planner.name, display=display
        )
        outcome = Runner(experiment, options).run()
    if planner.writes in outcome.artefacts:
        console = Console()
        key = Column("key", no_wrap=True)
        table = Table(key, "value", "rule", "data", title=f"plan of {experiment.name}")
        for one in outcome.artefacts[planner.writes].decisions:
            table.add_row(one.key, _short(one.value), one.rule, one.data)
        (console if console.is_terminal else Console(width=PAGE_WIDTH)).print(table)
    return outcome.exit_code


def _short(value: Any) -> str:
    """Write a value with numbers as long as one reads them; plan.yaml has them in full."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_short(one) for one in value)}]"
    return str(value)
