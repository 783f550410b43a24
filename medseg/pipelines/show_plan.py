"""`medseg plan CONFIG`: what every `auto` became, by which rule, from which data; what it takes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.pipelines.arguments import add_config_arguments
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.store import read_json, write_text

PAGE_WIDTH = 160
"""Columns where the output is no terminal."""
TELLING = ("run.json", "config.yaml", "plan.yaml")
"""Files of a run folder that say what the run was."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg plan``."""
    add_config_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print decisions and forecast as JSON on stdout"
    )


def main(args: argparse.Namespace) -> int:
    """Run up to the stage that plans, and print its decisions and its forecast.

    Raises
    ------
    ConfigError
        If no stage of the pipeline plans.
    """
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
        experiment = replace(experiment, tracking=replace(experiment.tracking, enabled=False))
        runner = Runner(experiment, options)
        with unchanged(runner.folder.path, [node.name for node in runner.nodes]):
            outcome = runner.run()
            forecast = _read_forecast(outcome.folder, planner.name)
    if planner.writes in outcome.artefacts:
        plan = outcome.artefacts[planner.writes]
        if args.json:
            _print_json(plan, forecast)
        else:
            _print_tables(experiment.name, plan, forecast)
    return outcome.exit_code


@contextmanager
def unchanged(folder: Path, stages: Collection[str]) -> Iterator[None]:
    """Put back what tells of a run that is beyond its plan: other settings are only looked at.

    Parameters
    ----------
    folder : Path
        Run folder; it may not be there.
    stages : collection of str
        Those up to the plan.
    """
    beyond = set(read_json(folder / "run.json").get("stages", {})) - set(stages)
    files = [folder / name for name in TELLING] if beyond else []
    before = {file: file.read_text(encoding="utf-8") for file in files if file.is_file()}
    try:
        yield
    finally:
        for file, text in before.items():
            write_text(file, text)


def _read_forecast(folder: Path, stage: str) -> Mapping[str, Any] | None:
    """Return the forecast that the stage left; None where it measured nothing."""
    from medseg.stages.plan import FORECAST

    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    file = folder / "stages" / stage / record["stages"][stage]["key"] / FORECAST
    if not file.is_file():
        return None
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _print_json(plan: Any, forecast: Mapping[str, Any] | None) -> None:
    """Print one JSON object."""
    from pydantic_core import to_jsonable_python
    from rich.console import Console

    rows = {
        one.key: {"value": to_jsonable_python(one.value), "rule": one.rule, "data": one.data}
        for one in plan.decisions
    }
    text = json.dumps({"plan": rows, "forecast": forecast}, indent=2)
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def _print_tables(name: str, plan: Any, forecast: Mapping[str, Any] | None) -> None:
    """Print the decisions, then the forecast with its warnings."""
    from rich.console import Console
    from rich.table import Column, Table

    from medseg.planning.forecast import Forecast, forecast_rows

    console = Console()
    console = console if console.is_terminal else Console(width=PAGE_WIDTH)
    table = Table(Column("key", no_wrap=True), "value", "rule", "data", title=f"plan of {name}")
    for one in plan.decisions:
        table.add_row(one.key, _short(one.value), one.rule, one.data)
    console.print(table)
    if forecast is None:
        return
    told = Forecast(**forecast)
    table = Table("what", "expected", title="forecast", show_header=False)
    for what, expected in forecast_rows(told):
        table.add_row(what, expected)
    console.print(table)
    for line in told.warnings:
        console.print(f"warning: {line}", style="yellow", highlight=False, markup=False)


def _short(value: Any) -> str:
    """Write a value with numbers as long as one reads them; plan.yaml has them in full."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_short(one) for one in value)}]"
    return str(value)
