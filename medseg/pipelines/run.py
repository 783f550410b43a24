"""`python -m medseg.pipelines.run CONFIG [key=value ...]`: run an experiment; see ``--help``."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from medseg.pipelines.arguments import add_config_arguments
from medseg.pipelines.logs import logging_to_stderr, nothing_logged
from medseg.pipelines.signals import interruptible
from medseg.team import joined

if TYPE_CHECKING:
    from medseg.pipelines.build import Experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg run``."""
    add_config_arguments(parser)
    parser.add_argument(
        "--from", dest="start", metavar="STAGE", help="recompute from this stage on"
    )
    parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
    parser.add_argument(
        "--force", metavar="STAGE", action="append", default=[], help="recompute this stage"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would run and what is done, and exit"
    )


def main(args: argparse.Namespace) -> int:
    """Run an experiment; return 0, 3 (cases were set aside) or 130 (interrupted).

    Raises
    ------
    MedsegError
        If the config, the manifest or a stage is wrong.
    """
    with joined(os.environ) as team:
        if team is None or team.leads:
            return _run(args, 1 if team is None else team.place.world)
        with nothing_logged(), interruptible():
            return team.follow()


def _run(args: argparse.Namespace, processes: int) -> int:
    """Run an experiment, as the first of ``processes``."""
    from medseg.pipelines.options import Options
    from medseg.pipelines.runner import Runner

    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        experiment = _load(args, processes)
        options = Options(
            runs_dir=args.runs_dir,
            device=args.device,
            start=args.start,
            until=args.until,
            force=tuple(args.force),
            display=display,
        )
        runner = Runner(experiment, options)
        if not args.dry_run:
            return runner.run().exit_code
        rows = runner.dry_run()
    width = max(len(row.stage) for row in rows)
    sys.stdout.writelines(f"{row.stage:<{width}}  {row.state}\n" for row in rows)
    if all(row.state == "done" for row in rows):
        sys.stdout.write("nothing to do: every stage is done\n")
    return 0


def _load(args: argparse.Namespace, processes: int) -> Experiment:
    """Read the config; where a launcher started several processes, they are its devices."""
    from medseg.pipelines.build import load_experiment

    load = partial(load_experiment, data_root=args.data_root, runs_dir=args.runs_dir)
    experiment = load(args.config, args.overrides)
    if processes > 1 and "train" in dict(experiment.stages):
        experiment = load(args.config, [f"train.devices={processes}", *args.overrides])
    return experiment


if __name__ == "__main__":
    from medseg.pipelines.cli import main as cli

    sys.exit(cli(["run", *sys.argv[1:]]))
