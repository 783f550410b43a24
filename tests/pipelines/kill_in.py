"""Run a config and die by SIGKILL inside one stage: ``python kill_in.py STAGE WHEN CONFIG ...``.

WHEN is ``middle`` (a case or a training step is done, others are not) or ``end`` (all work is done,
the stage's folder is not renamed yet).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from medseg.pipelines import run
from medseg.pipelines.context import RunContext
from medseg.stages import STAGES


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingProgress:
    """Pass on to a progress bar and die at its second step."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.steps = bar, 0

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        self.bar.advance(amount, note=note)
        self.steps += 1
        if self.steps == 2:
            die()


def main(stage: str, when: str, arguments: list[str]) -> int:
    kind = STAGES[stage]
    original = kind.run

    def dying_run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if when == "middle":
            progress = RunContext.progress

            def dying_progress(context: RunContext, *a: Any, **k: Any) -> Any:
                manager = progress(context, *a, **k)
                enter = manager.__enter__
                manager.__enter__ = enter  # type: ignore[method-assign]

                class Dying:
                    def __enter__(self) -> DyingProgress:
                        return DyingProgress(manager.__enter__())

                    def __exit__(self, *error: Any) -> Any:
                        return manager.__exit__(*error)

                return Dying()

            RunContext.progress = dying_progress  # type: ignore[method-assign]
        result = original(self, *args, **kwargs)
        die()
        return result

    dying_run.__annotations__ = original.__annotations__
    kind.run = dying_run
    return run.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
