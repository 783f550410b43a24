"""Log lines of the command line: to stderr, and off again when the command ends."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from medseg.identifiers import concealed
from medseg.pipelines.progress import Display


@contextmanager
def nothing_logged() -> Iterator[None]:
    """Keep medseg's log to itself while the context lasts: another process tells the same."""
    handler, log = logging.NullHandler(), logging.getLogger("medseg")
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def logging_to_stderr(*, quiet: bool, debug: bool) -> Iterator[Display]:
    """Show medseg's log on stderr while the context lasts; yield where progress is shown.

    Parameters
    ----------
    quiet : bool
        Warnings only, and no progress.
    debug : bool
        Shapes and other details as well.
    """
    from rich.console import Console
    from rich.logging import RichHandler

    console = Console(stderr=True)
    handler: logging.Handler
    if console.is_terminal:  # lines stand above the bar
        handler = RichHandler(console=console, show_path=False, markup=False, log_time_format="%X")
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    # Fabric's note on its precision comes by a handler of its own; the config says the same.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    log = logging.getLogger("medseg")
    level = log.level
    handler.addFilter(_conceal)
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if debug else logging.INFO)
    try:
        yield Display(console, quiet=quiet)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _conceal(record: logging.LogRecord) -> bool:
    """Take out of a line what names a patient; every line is shown."""
    record.msg, record.args = concealed(record.getMessage()), None
    return True
