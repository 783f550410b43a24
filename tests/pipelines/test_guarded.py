"""A tracker may break at any call: the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medseg.pipelines.guarded import Guarded
from medseg.tracking import NullTracker


class Notes(NullTracker):
    """Notes calls; breaks at those that are named."""

    def __init__(self, *breaks: str) -> None:
        self.calls: list[Any] = []
        self.breaks = breaks
        self.run_id = "id-1"

    def note(self, *call: Any) -> None:
        if call[0] in self.breaks:
            raise OSError(f"{call[0]} broke")
        self.calls.append(call)

    def start(self, *words: Any) -> str | None:
        self.note("start", *words)
        return "id-1"

    @contextmanager
    def stage(self, name: str, *, key: str = "") -> Iterator[None]:
        self.note("enter", name, key)
        try:
            yield
        except BaseException as error:
            self.note("failed", type(error).__name__)
            raise
        self.note("leave", name)

    def log_metrics(self, metrics: Any, step: int) -> None:
        self.note("metrics", metrics, step)

    def finish(self, status: str) -> None:
        self.note("finish", status)


def started(tracker: NullTracker) -> Guarded:
    guarded = Guarded(lambda: tracker)
    guarded.start("e", "r", {}, {})
    return guarded


def test_calls_go_through() -> None:
    notes = Notes()
    guarded = started(notes)
    with guarded.stage("train", key="k"):
        guarded.log_metrics({"a": 1.0}, 3)
    guarded.finish("FINISHED")
    assert [call[0] for call in notes.calls] == ["start", "enter", "metrics", "leave", "finish"]
    assert notes.calls[1] == ("enter", "train", "k")
    assert guarded.run_id == "id-1"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_an_error_of_the_stage_is_seen_by_the_tracker_and_goes_on(error: BaseException) -> None:
    notes = Notes()
    with pytest.raises(type(error)), started(notes).stage("train"):
        raise error
    assert notes.calls[-1] == ("failed", type(error).__name__)


@pytest.mark.parametrize("call", ["start", "enter", "metrics", "leave", "finish"])
def test_a_broken_tracker_is_told_once_and_is_off(
    call: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    notes = Notes(call)
    guarded = started(notes)
    with guarded.stage("train"):
        guarded.log_metrics({"a": 1.0}, 3)
        guarded.log_artifacts(tmp_path)
    guarded.finish("FINISHED")
    assert caplog.text.count("tracking is off") == 1
    assert f"OSError: {call} broke" in caplog.text


def test_a_stage_error_wins_over_a_broken_tracker() -> None:
    with pytest.raises(ValueError, match="of the stage"), started(Notes("failed")).stage("train"):
        raise ValueError("of the stage")


def test_nothing_is_made_before_start() -> None:
    def never() -> NullTracker:
        raise AssertionError("made too early")

    guarded = Guarded(never)
    guarded.log_metrics({}, 0)
    guarded.finish("FINISHED")
    assert guarded.run_id is None
