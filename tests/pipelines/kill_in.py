"""Run a config and die by SIGKILL inside one stage: ``python kill_in.py STAGE WHEN CONFIG ...``.

WHEN is ``middle`` (a case or a training step is done, others are not) or ``end`` (all work is done,
the stage's folder is not renamed yet).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from medseg.pipelines.cli import main as medseg
from medseg.pipelines.progress import Display
from medseg.stages import STAGES


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingProgress:
    """Pass on to a progress bar and die once two steps are done."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.steps = bar, 0

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        self.bar.advance(amount, note=note)
        self.steps += amount > 0
        if self.steps == 2:
            die()


def arm(when: str) -> None:
    """Make progress deadly, if it is to end in the middle."""
    if when == "middle":
        calm = Display.open

        @contextmanager
        def deadly(display: Display, *args: Any) -> Iterator[DyingProgress]:
            with calm(display, *args) as bar:
                yield DyingProgress(bar)

        Display.open = deadly  # type: ignore[method-assign]


def main(stage: str, when: str, arguments: list[str]) -> int:
    kind = STAGES[stage]
    original = kind.run

    @wraps(original)
    def dying_run(self: Any, *args: Any, **kwargs: Any) -> Any:
        arm(when)
        original(self, *args, **kwargs)
        die()

    kind.run = dying_run
    return medseg(["run", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
