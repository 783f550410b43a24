"""The `medseg` command: imports the one sub-command, turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from medseg.errors import CaseError, ExportError, FormatError, MedsegError, StageError
from medseg.identifiers import concealed
from medseg.pipelines.arguments import add_arguments

COMMANDS = {
    "run": ("medseg.pipelines.run", "run an experiment, or what of it is not done"),
    "predict": ("medseg.pipelines.predict", "segment files with a trained model"),
    "export": ("medseg.pipelines.export", "write a model as ONNX, torch.export or MONAI bundle"),
    "evaluate": ("medseg.pipelines.evaluate", "compare two folders of masks: metrics, report"),
    "best": ("medseg.pipelines.best", "choose the best of several runs, or of their ensembles"),
    "compare": ("medseg.pipelines.compare", "compare runs case by case: paired statistics"),
    "init": ("medseg.pipelines.init", "look at a folder; write a manifest and a config that run"),
    "plan": ("medseg.pipelines.show_plan", "show what every 'auto' becomes, and why"),
    "check": ("medseg.pipelines.check", "read every case and say what is wrong; change nothing"),
    "list": ("medseg.pipelines.catalogue", "list losses, networks, augmentations and other names"),
    "schema": ("medseg.pipelines.schema", "print the JSON Schema of configs"),
}
"""Sub-command to the module with its ``main``, and what it does."""

STAGE_FAILED, WRONG_COMMAND, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process where not given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    args, module = _parse(words)
    try:
        code: int = module.main(args)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from here", INTERRUPTED, args)
    except (StageError, CaseError, FormatError, ExportError) as error:
        return _fail(str(error), STAGE_FAILED, args)
    except MedsegError as error:
        return _fail(str(error), WRONG_COMMAND, args)
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        return 0
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into a message
        text = f"{type(error).__name__}: {error}; this was not foreseen, --debug shows where"
        return _fail(text, STAGE_FAILED, args)
    return code


def _fail(message: str, code: int, args: argparse.Namespace) -> int:
    """Write one message, and with ``--debug`` the traceback before it."""
    if args.debug:
        traceback.print_exc()
    sys.stderr.write(f"medseg: {concealed(message)}\n")
    return code


def _parse(words: list[str]) -> tuple[argparse.Namespace, Any]:
    """Parse arguments; overrides and options may stand in any order."""
    parser = argparse.ArgumentParser(
        prog="medseg", description="From a folder of scans to a model, predictions and a report."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in words if not word.startswith("-")), None)
    module: Any = None
    for name, (path, what) in COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=what, conflict_handler="resolve", allow_abbrev=False
        )
        command.add_argument("--debug", action="store_true", help="show details and tracebacks")
        if name == chosen:
            module = importlib.import_module(path)
            add_arguments(name, module, command)
    args, rest = parser.parse_known_args(words)
    strange = [word for word in rest if word.startswith("-") or not hasattr(args, "overrides")]
    if strange:
        parser.error(f"unknown argument: {' '.join(strange)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args, module


def _version() -> str:
    import medseg

    return f"medseg {medseg.__version__}"


if __name__ == "__main__":
    sys.exit(main())
