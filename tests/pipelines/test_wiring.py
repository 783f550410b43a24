"""Mistakes in a pipeline are told before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from medseg.errors import WiringError
from medseg.pipelines.wiring import wire
from medseg.stages.context import Context
from tests.pipelines.toys import Numbers, Squares


@dataclass(frozen=True)
class Make:
    writes: ClassVar[str] = "numbers"

    def run(self, context: Context) -> Numbers:
        raise AssertionError("never run here")


@dataclass(frozen=True)
class Use:
    writes: ClassVar[str] = "squares"

    def run(self, numbers: Numbers, context: Context) -> Squares:
        raise AssertionError("never run here")


@dataclass(frozen=True)
class Misuse:
    writes: ClassVar[str] = "other"

    def run(self, numbers: Squares, context: Context) -> Squares:
        raise AssertionError("never run here")


@dataclass(frozen=True)
class Unsaid:
    writes: ClassVar[str] = "unsaid"

    def run(self, context: Context):  # type: ignore[no-untyped-def]
        raise AssertionError("never run here")


def test_a_sound_pipeline() -> None:
    make, use = wire([("make", Make()), ("use", Use())])
    assert make.reads == {}
    assert use.reads == {"numbers": "numbers"}
    assert (use.writes, use.kind) == ("squares", Squares)


def test_inputs_feed_another_artefact() -> None:
    stages = [("make", Make()), ("use", Use()), ("misuse", Misuse())]
    *_, node = wire(stages, {"misuse": {"numbers": "squares"}})
    assert node.reads == {"numbers": "squares"}


@pytest.mark.parametrize(
    ("stages", "inputs", "message"),
    [
        ([("use", Use()), ("make", Make())], {}, "stage 'use' reads 'numbers'.*no stage before"),
        (
            [("make", Make()), ("use", Use())],
            {"use": {"numbers": "numberz"}},
            r"reads 'numberz' \(parameter 'numbers'\).*did you mean 'numbers'",
        ),
        (
            [("make", Make()), ("misuse", Misuse())],
            {},
            "reads 'numbers' as Squares, but 'make' writes 'numbers' as Numbers",
        ),
        ([("make", Make()), ("again", Make())], {}, "'again' writes 'numbers', which 'make' wrote"),
        ([("make", Make())], {"mke": {}}, "no stage 'mke'.*did you mean 'make'"),
        (
            [("make", Make()), ("use", Use())],
            {"use": {"number": "numbers"}},
            "no parameter 'number'; did you mean 'numbers'",
        ),
        ([("unsaid", Unsaid())], {}, "run has no return annotation"),
        ([("odd", 3)], {}, "lacks 'writes' or 'run'"),
    ],
)
def test_mistakes(stages: Any, inputs: Any, message: str) -> None:
    with pytest.raises(WiringError, match=message):
        wire(stages, inputs)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        wire([("use", Use()), ("misuse", Misuse())])
    assert len(str(caught.value).splitlines()) == 2
