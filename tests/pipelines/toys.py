"""A tiny pipeline that writes text files: read numbers, square each, add them up.

As a script it runs the pipeline once: ``python toys.py RUNS_DIR SOURCE [slow seconds]``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medseg.artefacts import Decision
from medseg.errors import CaseError
from medseg.pipelines.build import Experiment
from medseg.settings import Compute, Tracking
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What *read* writes."""

    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Square:
    """One squared number."""

    file: Path
    value: float


@dataclass(frozen=True, kw_only=True)
class Squares:
    """What *square* writes."""

    cases: Mapping[str, Square]
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Total:
    """What *add* writes."""

    page: Path
    value: float


@dataclass(frozen=True, kw_only=True)
class Read:
    """Read a folder of text files, one number each."""

    writes: ClassVar[str] = "numbers"
    source: Path
    comment: str = ""
    """Changes the key of this stage, never its artefact."""

    def inputs_token(self) -> list[list[Any]]:
        return [[f.name, f.stat().st_mtime_ns] for f in sorted(self.source.glob("*.txt"))]

    def run(self, context: Context) -> Numbers:
        count("read")
        return Numbers(values={f.stem: f.read_text() for f in sorted(self.source.glob("*.txt"))})


def square_case(out: Path, name: str, text: str, power: int) -> Square:
    """Square one number; slow, broken and deadly numbers are told by their text."""
    count(f"square {name}")
    time.sleep(float(os.environ.get("TOY_SLEEP", "0")))
    if text == "corrupt":
        raise CaseError(name, "holds no number", "write one")
    if text == "deadly":
        os._exit(9)
    value = float(text) ** power
    (out / "square.txt").write_text(str(value))
    return Square(file=out / "square.txt", value=value)


@dataclass(frozen=True, kw_only=True)
class SquareAll:
    """Square every number, each a case of its own."""

    writes: ClassVar[str] = "squares"
    power: int = 2

    def run(self, numbers: Numbers, context: Context) -> Squares:
        items = {
            name: {"name": name, "text": text, "power": self.power}
            for name, text in numbers.values.items()
        }
        results = context.map_cases(square_case, items)
        chosen = Decision(key="square.power", value=self.power, rule="as set", data="none")
        return Squares(cases=results.done, decisions=(chosen,))


@dataclass(frozen=True, kw_only=True)
class Add:
    """Add the squares and write a page."""

    writes: ClassVar[str] = "total"
    publishes: ClassVar[tuple[str, ...]] = ("report",)
    title: str = "total"

    def run(self, squares: Squares, context: Context) -> Total:
        count("add")
        wait = float(os.environ.get("TOY_SLEEP_ADD", "0"))
        marker = context.workdir / "was_here"
        if wait and not marker.exists():
            marker.touch()
            time.sleep(wait)
        value = sum(float(one.file.read_text()) for one in squares.cases.values())
        page = context.workdir / "report" / "index.txt"
        page.parent.mkdir(exist_ok=True)
        page.write_text(f"{self.title}: {value}")
        return Total(page=page, value=value)


TOYS = {"read": Read, "square": SquareAll, "add": Add}


def count(what: str) -> None:
    """Note a call in the file that TOY_COUNTS names."""
    if os.environ.get("TOY_COUNTS"):
        with Path(os.environ["TOY_COUNTS"]).open("a") as stream:
            stream.write(what + "\n")


def toy_experiment(source: Path, *, workers: int = 1, **changes: Any) -> Experiment:
    """Build the toy pipeline; changes are ``power``, ``title``, ``comment``, ``scheduler``."""
    return Experiment(
        name="toy",
        seed=0,
        manifest=None,
        stages=(
            ("read", Read(source=source, comment=changes.get("comment", ""))),
            ("square", SquareAll(power=changes.get("power", 2))),
            ("add", Add(title=changes.get("title", "total"))),
        ),
        inputs={},
        compute=Compute(device="cpu", workers=workers, scheduler=changes.get("scheduler")),
        tracking=Tracking(enabled=False),
        resolved={"experiment": "toy"},
        source=Path("toy.yaml"),
    )


if __name__ == "__main__":
    from medseg.pipelines.logs import logging_to_stderr
    from medseg.pipelines.options import Options
    from medseg.pipelines.runner import Runner
    from tests.pipelines import toys  # functions must carry this name, not __main__

    with logging_to_stderr(quiet=False, debug=False) as shown:
        ready = toys.toy_experiment(Path(sys.argv[2]), workers=int(sys.argv[3]))
        options = Options(runs_dir=Path(sys.argv[1]), display=shown)
        sys.exit(Runner(ready, options).run().exit_code)
