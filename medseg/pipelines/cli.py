"""The `medseg` command: imports the one sub-command, turns errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from medseg.errors import CaseError, ExportError, FormatError, MedsegError, StageError
from medseg.pipelines.arguments import add_arguments
from medseg.pipelines.concealed_output import concealed_output
from medseg.registry import nearest

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

ROOM = "free some space; the same command then goes on from here"
RIGHTS = "name a folder that you may write (--runs-dir, -o), or a file that you may read"
REMEDIES = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: "files may be no larger here (ulimit -f); raise the limit",
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: RIGHTS,
    errno.ENOTDIR: "what should be a folder is a file; name another one",
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096)",
}
"""What helps against errors of the operating system."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process where not given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args, module = _parse(words)
    except KeyboardInterrupt:  # while modules are imported
        sys.stderr.write("medseg: interrupted before it began\n")
        return INTERRUPTED
    with concealed_output():
        return _run(args, module)


def _run(args: argparse.Namespace, module: Any) -> int:
    """Run the sub-command and return its exit code."""
    try:
        code: int = module.main(args)
        sys.stdout.flush()  # so that a reader who left is met here, not while Python ends
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from here", INTERRUPTED, args)
    except (StageError, CaseError, FormatError, ExportError) as error:
        return _fail(str(error), STAGE_FAILED, args)
    except MedsegError as error:
        return _fail(str(error), WRONG_COMMAND, args)
    except BrokenPipeError as error:
        if _reader_left():  # head or less has seen enough
            return 0
        return _fail(_words(error), STAGE_FAILED, args)
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into a message
        return _fail(_words(error), STAGE_FAILED, args)
    return code


def _words(error: Exception) -> str:
    """Say what went wrong outside of medseg, as far as it is known what would help."""
    if isinstance(error, OSError) and error.errno in REMEDIES:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; {REMEDIES[error.errno]}"
    return f"{type(error).__name__}: {error}; this was not foreseen, --debug shows where"


def _reader_left() -> bool:
    """Tell whether nobody reads stdout any more; what is left for it then goes nowhere."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _fail(message: str, code: int, args: argparse.Namespace) -> int:
    """Write one message, and with ``--debug`` the traceback before it."""
    if args.debug:
        traceback.print_exc()
    sys.stderr.write(f"medseg: {message}\n")
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
    asked = parser
    for name, (path, what) in COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=what, conflict_handler="resolve", allow_abbrev=False
        )
        command.add_argument("--debug", action="store_true", help="show details and tracebacks")
        if name == chosen:
            module = importlib.import_module(path)
            add_arguments(name, module, command)
            asked = command
    args, rest = parser.parse_known_args(words)
    strange = [word for word in rest if word.startswith("-") or not hasattr(args, "overrides")]
    if strange:
        asked.error(f"unknown argument: {' '.join(strange)}; {_hint(strange[0], asked)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args, module


def _hint(word: str, parser: argparse.ArgumentParser) -> str:
    """Say what a word may have meant that no command takes."""
    if "=" in word and "." in word.partition("=")[0]:
        return f"a setting has no dashes: {word.lstrip('-')}"
    options = [name for name in parser._option_string_actions if name.startswith("--")]
    return nearest(word.partition("=")[0], options)


def _version() -> str:
    import medseg

    return f"medseg {medseg.__version__}"


if __name__ == "__main__":
    sys.exit(main())
