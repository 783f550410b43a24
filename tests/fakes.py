"""Stand-ins that let a stage run without the runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.artefacts import SetAside, StageTime
from medseg.errors import CaseError
from medseg.stages.context import CaseResults


class SilentProgress:
    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        pass


class LocalContext:
    """A `medseg.stages.context.Context` that runs every case here, serially, without reuse."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.workdir = folder / "work"
        self.scratch = folder / "scratch"
        self.device = device
        self.earlier_set_aside: tuple[SetAside, ...] = ()
        self.earlier_stages: tuple[StageTime, ...] = ()
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.listed: list[SetAside] = []
        self.workdir.mkdir(parents=True, exist_ok=True)

    def map_cases(
        self,
        function: Callable[..., Any],
        items: Mapping[str, Mapping[str, Any]],
        *,
        shared: Mapping[str, Any] | None = None,
        parallel: bool = True,
        memory: int = 0,
        unit: str = "case",
    ) -> CaseResults[Any]:
        done, aside = {}, []
        for case, item in items.items():
            out = self.workdir.parent / "cases" / function.__name__ / case
            out.mkdir(parents=True, exist_ok=True)
            try:
                done[case] = function(out=out, **item, **(shared or {}))
            except CaseError as error:
                aside.append(SetAside(case=case, stage="test", reason=str(error)))
        self.listed += aside
        return CaseResults(done=done, set_aside=tuple(aside))

    def once(
        self,
        function: Callable[..., Any],
        name: str,
        item: Mapping[str, Any],
        *,
        shared: Mapping[str, Any] | None = None,
    ) -> Any:
        out = self.workdir / name
        out.mkdir(exist_ok=True)
        return function(out=out, **item, **(shared or {}))

    def finished(self, run: Path, stage: str, kind: type[Any]) -> Any:
        raise NotImplementedError("another run is found by the runner")

    @contextmanager
    def progress(self, total: float, unit: str) -> Iterator[SilentProgress]:
        yield SilentProgress()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((step, dict(metrics)))

    def set_aside(self, case: str, reason: str) -> None:
        self.listed.append(SetAside(case=case, stage="test", reason=reason))
