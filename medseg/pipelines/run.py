"""`python -m medseg.pipelines.run CONFIG [key=value ...]`: run an experiment; see ``--help``."""

from __future__ import annotations

import argparse
import sys

from medseg.pipelines.arguments import add_config_arguments
from medseg.pipelines.logs import logging_to_stderr


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
    from medseg.pipelines.build import load_experiment
    from medseg.pipelines.options import Options
    from medseg.pipelines.runner import Runner

    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        experiment = load_experiment(
            args.config, args.overrides, data_root=args.data_root, runs_dir=args.runs_dir
        )
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


if __name__ == "__main__":
    from medseg.pipelines.cli import main as cli

    sys.exit(cli(["run", *sys.argv[1:]]))
