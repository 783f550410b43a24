"""A made-up data set of squares (or cubes), resampled and indexed, and a plan for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.artefacts import (
    CaseLocations,
    ChannelNormalization,
    DataInfo,
    NetworkSpec,
    PatchIndex,
    Plan,
    ResampledCase,
)
from medseg.geometry.volume import Grid
from medseg.io.store import write_array
from medseg.labels import Label, LabelScheme, Region
from medseg.sampling.sampler import sample_locations
from medseg.training.schedule import Budget
from medseg.training.task import Recipe, Task

LABELS = (Label(value=1, name="left"), Label(value=2, name="right"))


def make_scheme(*, regions: bool = False) -> LabelScheme:
    if not regions:
        return LabelScheme(labels=LABELS)
    both = Region(name="both", labels=("left", "right"))
    return LabelScheme(labels=LABELS, regions=(both, Region(name="core", labels=("right",))))


def make_case(
    folder: Path, number: int, *, ndim: int = 2, size: int = 16, fold: int | None = None
) -> tuple[ResampledCase, CaseLocations]:
    """Two boxes of other brightness beside each other in noise; label 1 left, label 2 right."""
    rng = np.random.default_rng(number)
    shape = (size,) * ndim
    label = np.zeros(shape, np.int16)
    start = rng.integers(1, size // 2 - 2, ndim)
    length = size // 2
    rest = tuple(slice(s, s + length) for s in start[1:])
    label[(slice(start[0], start[0] + length // 2), *rest)] = 1
    label[(slice(start[0] + length // 2, start[0] + length), *rest)] = 2
    image = (label * 2 - 1 + 0.3 * rng.standard_normal(shape)).astype(np.float32)[None]
    name = f"case{number}"
    grid = Grid.of(shape, np.eye(ndim + 1))
    case = ResampledCase(
        id=name,
        split="train",
        fold=number % 2 if fold is None else fold,
        image=write_array(folder / f"{name}_image.b2nd", image),
        label=write_array(folder / f"{name}_label.b2nd", label),
        grid=grid,
        crop_start=(0,) * ndim,
        crop_stop=shape,
        source=grid,
        annotated=(1, 2),
    )
    voxels, coordinates = sample_locations(label, 0)
    file = folder / f"{name}.npz"
    np.savez(file, **{f"c{k}": v for k, v in coordinates.items()})
    return case, CaseLocations(id=name, voxels=voxels, file=file)


def make_plan(*, ndim: int = 2, size: int = 16, regions: bool = False, **network: Any) -> Plan:
    scheme = make_scheme(regions=regions)
    arguments = {
        "ndim": ndim,
        "in_channels": 1,
        "num_classes": scheme.num_classes,
        "widths": (4, 8, 8),
        **network,
    }
    return Plan(
        spacing=(1.0,) * ndim,
        normalization=(ChannelNormalization(scheme="none"),),
        coarse_axis=None,
        patch_size=(size,) * ndim,
        batch_size=2,
        slice_axis=None,
        mirror_axes=(0,),
        network=NetworkSpec(name="unet", arguments=arguments),
        budget="6it",
        scheme=scheme,
        info=DataInfo(
            name="squares",
            title="",
            modality="photo",
            channels=("image",),
            origin="SYNTHETIC",
            licence="",
            citation="",
            digest="",
        ),
        decisions=(),
    )


def make_task(
    folder: Path,
    *,
    ndim: int = 2,
    cases: int = 4,
    size: int = 16,
    regions: bool = False,
    **recipe: Any,
) -> Task:
    data, work = folder / "data", folder / "work"
    data.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    made = [make_case(data, i, ndim=ndim, size=size) for i in range(cases)]
    settings: dict[str, Any] = {
        "budget": Budget(iterations=6),
        "batch_size": 2,
        "validations": 2,
        "checkpoint_every": Budget(iterations=1000),
        **recipe,
    }
    network = settings.pop("network", {})
    return Task(
        recipe=Recipe(**settings),
        plan=make_plan(ndim=ndim, size=size, regions=regions, **network),
        patches=PatchIndex(
            seed=0,
            foreground_share=0.5,
            locations=tuple(row for _, row in made),
            table=folder / "t.csv",
        ),
        train=tuple(c for c, _ in made if c.fold == 1),
        validation=tuple(c for c, _ in made if c.fold == 0),
        folder=work,
    )


class Recorder:
    """A monitor that keeps what it is told; ``stop_at`` raises there, as a kill would."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.used = 0.0

    def advance(self, amount: float, note: str) -> None:
        self.used += amount

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))
