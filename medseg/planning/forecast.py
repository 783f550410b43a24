"""What a training will take: hours, memory and disk, and what its budget buys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from medseg.artefacts import Dataset, Plan
from medseg.geometry.resample import resampled_grid
from medseg.planning.wording import thousands
from medseg.preprocessing import Recipe

IMAGE_BYTES, LABEL_BYTES = 4 * 0.6, 2 * 0.03
"""Stored bytes per voxel: float32 and int16 times what compression leaves of them at most.
Measured over a store of 208 MR crops and one of 16 made-up CTs: 0.44 to 0.54 of the image, 0.008 to
0.013 of the label; single MR crops up to 0.62."""
LEAST_STORED = 0.25
"""Share of an estimate below which no store has been seen."""
TILE_OVERLAP = 4 / 3
"""Voxels that a validation predicts over those of the case, per axis: tiles overlap by 1/4."""
FORWARD_SHARE = 1 / 3
"""Part of a step that its forward pass takes."""
VALIDATION_SHARE = 0.25
"""Part of a time budget that validations take at most."""
STATE_BYTES = 4 * (4 + 1 + 1)
"""Per parameter: a checkpoint of weights and two moments, the best and the final weights."""


SLOW_STEP_S = 5.0
"""On a CPU a step that takes longer is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """The budget and the settings that decide how far it goes."""

    text: str
    seconds: float | None
    iterations: int | None
    """The one that is None follows from the other."""
    validations: int
    folds: int = 1
    """Trainings, one after another."""
    devices: int = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A measured step of the plan."""

    seconds: float
    device_bytes: float
    host_bytes: float
    basis: str
    """How it was measured."""
    disturbed: bool = False
    """Whether other work made it slow."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What this machine has free, in bytes."""

    disk: float
    host: float
    device: float
    where: str
    """Folder of the run."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected before training starts; sizes in GB (10^9 bytes)."""

    device: str
    basis: str
    parameters: int
    seconds_per_step: float
    budget: str
    steps: int
    """Of each training."""
    hours: float
    """Of all trainings, validations included."""
    patches_per_case: float
    """How often a training case is drawn from."""
    passes: float
    """Voxels seen over voxels of all training cases."""
    device_gb: float
    device_free_gb: float
    host_gb: float
    host_free_gb: float
    preparing_gb: float
    """Memory that the largest case takes while it is resampled."""
    disk_gb: float
    """Resampled cases and checkpoints."""
    disk_free_gb: float
    folds: int = 1
    """Trainings, one after another."""
    warnings: tuple[str, ...] = ()


def make_forecast(
    plan: Plan,
    dataset: Dataset,
    measured: Measured,
    budget: Budgeted,
    room: Room,
    *,
    parameters: int,
    device: str,
) -> Forecast:
    """Work out what a training will take.

    Parameters
    ----------
    plan : Plan
    dataset : Dataset
        Its cases say how much there is to store.
    measured : Measured
        A step on the actual device.
    budget : Budgeted
    room : Room
    parameters : int
        Of the network.
    device : str
    """
    voxels = training_voxels(plan, dataset)
    cases, fold_share = len(voxels), _training_share(dataset)
    validation_s = _validation_seconds(plan, sum(voxels) * (1 - fold_share), measured.seconds)
    steps, seconds = _steps(budget, measured.seconds, validation_s)
    patches = steps * plan.batch_size * budget.devices
    disk = stored_bytes(plan, dataset) + STATE_BYTES * parameters * budget.folds
    trained = max(cases * fold_share, 1)
    draft = Forecast(
        device=device,
        basis=measured.basis,
        parameters=parameters,
        seconds_per_step=measured.seconds,
        budget=budget.text,
        steps=steps,
        hours=seconds * budget.folds / 3600,
        patches_per_case=patches / trained,
        passes=patches * prod(plan.patch_size) / max(sum(voxels) * fold_share, 1),
        device_gb=measured.device_bytes / 1e9,
        device_free_gb=room.device / 1e9,
        host_gb=measured.host_bytes / 1e9,
        host_free_gb=room.host / 1e9,
        preparing_gb=preparing_bytes(plan, dataset) / 1e9,
        disk_gb=disk / 1e9,
        disk_free_gb=room.disk / 1e9,
        folds=budget.folds,
    )
    return replace(
        draft, warnings=tuple(_warnings(draft, room.where, disturbed=measured.disturbed))
    )


def training_voxels(plan: Plan, dataset: Dataset) -> list[int]:
    """Return the voxels of each training case at the planned spacing."""
    rows = zip(dataset.fingerprint.spacings, dataset.fingerprint.shapes, strict=True)
    return [
        prod(
            max(1, round(n * old / new))
            for n, old, new in zip(
                shape,
                mm,
                plan.resize.spacing(shape, mm) if plan.resize else plan.spacing,
                strict=True,
            )
        )
        for mm, shape in rows
    ]


def stored_bytes(plan: Plan, dataset: Dataset) -> float:
    """Estimate the bytes of all resampled cases, those that are not trained on included."""
    channels = plan.in_channels
    each = channels * IMAGE_BYTES + LABEL_BYTES
    trained = training_voxels(plan, dataset)
    mean = sum(trained) / max(len(trained), 1)
    return each * mean * max(len(dataset.cases), len(trained))


def preparing_bytes(plan: Plan, dataset: Dataset) -> float:
    """Estimate the memory of the largest case's resampling: source and result, two copies each."""
    channels = plan.in_channels
    sizes = [
        prod(row.grid.shape)
        + prod(resampled_grid(row.grid, Recipe.of(plan).spacing_for(row.grid)).shape)
        for row in dataset.cases
    ]
    return 4 * 3 * channels * max(sizes, default=0)


def certainly_too_small(forecast: Forecast) -> bool:
    """Tell whether the disk cannot hold the cases however well they compress."""
    return forecast.disk_gb * LEAST_STORED > forecast.disk_free_gb


def disk_words(forecast: Forecast, where: str) -> str:
    """Say that the disk is too small, and what to do about it."""
    return (
        f"the resampled cases need about {forecast.disk_gb:.3g} GB and {where} has "
        f"{forecast.disk_free_gb:.3g} GB free; free some, move --runs-dir, or set a coarser "
        "resample.spacing"
    )


def _training_share(dataset: Dataset) -> float:
    """Return the share of the training cases that is in no fold's validation."""
    folds = {row.fold for row in dataset.cases if row.split == "train" and row.fold is not None}
    return 1 - 1 / len(folds) if len(folds) > 1 else 1.0


def _validation_seconds(plan: Plan, voxels: float, step_s: float) -> float:
    """Estimate one validation: a forward pass over every voxel, tiles overlapping."""
    per_voxel = step_s * FORWARD_SHARE / (plan.batch_size * prod(plan.patch_size))
    return voxels * TILE_OVERLAP ** sum(n > 1 for n in plan.patch_size) * per_voxel


def _steps(budget: Budgeted, step_s: float, validation_s: float) -> tuple[int, float]:
    """Return the steps of one training, and its seconds."""
    validating = budget.validations * validation_s
    if budget.iterations is not None:
        return budget.iterations, budget.iterations * step_s + validating
    assert budget.seconds is not None
    left = budget.seconds - min(validating, VALIDATION_SHARE * budget.seconds)
    return max(1, int(left / step_s)), budget.seconds


def _warnings(forecast: Forecast, where: str, *, disturbed: bool) -> list[str]:
    """Say what will not go well, and what to do about it."""
    found = []
    if forecast.patches_per_case < 1:
        found.append(
            f"budget {forecast.budget} buys {_steps_words(forecast)}, fewer than one "
            f"patch of each training case ({forecast.patches_per_case:.2g}); raise train.budget, "
            "or set fewer network.arguments.widths or a smaller patch_sample.patch_size"
        )
    slow = forecast.seconds_per_step > SLOW_STEP_S and not disturbed
    if slow and forecast.device == "cpu":
        found.append(
            f"a step takes {forecast.seconds_per_step:.3g} s on this CPU; fewer channels "
            "(network.arguments), a smaller patch_sample.patch_size or train.batch_size make it "
            "shorter"
        )
    if forecast.disk_gb > forecast.disk_free_gb:
        found.append(disk_words(forecast, where))
    if forecast.preparing_gb > forecast.host_free_gb:
        found.append(
            f"the largest case takes about {forecast.preparing_gb:.3g} GB of memory to resample "
            f"and {forecast.host_free_gb:.3g} GB are free; free some, or set a coarser "
            "resample.spacing"
        )
    return found


def forecast_rows(forecast: Forecast) -> list[tuple[str, str]]:
    """Return the forecast as lines for people: what, and how much."""
    one = forecast
    rows = [
        ("device", f"{one.device}: {one.basis}"),
        ("network", f"{one.parameters / 1e6:.2f} M parameters"),
        ("time", f"{one.seconds_per_step:.3g} s a step, reading of patches not included"),
        ("training", f"{_hours(one.hours)}: budget {one.budget}, {_steps_words(one)}"),
        (
            "what it sees",
            f"{one.patches_per_case:.3g} patches of each training case, its voxels "
            f"{one.passes:.3g} times",
        ),
        ("memory of the device", f"{_size(one.device_gb)} of {one.device_free_gb:.1f} GB free"),
        (
            "memory",
            f"{_size(one.host_gb)} to train, {_size(one.preparing_gb)} to resample the largest "
            f"case, of {one.host_free_gb:.1f} GB free",
        ),
        ("disk", f"{_size(one.disk_gb)} of {one.disk_free_gb:.1f} GB free"),
    ]
    return [row for row in rows if one.device != "cpu" or row[0] != "memory of the device"]


def forecast_words(forecast: Forecast) -> str:
    """Say the forecast in a line."""
    one = forecast
    return (
        f"{_hours(one.hours)} for {_steps_words(one)} of {one.seconds_per_step:.3g} s, "
        f"{_size(one.device_gb)} of memory, {_size(one.disk_gb)} on disk"
    )


def _steps_words(forecast: Forecast) -> str:
    """Write the steps, of each fold where there are several."""
    noun = "step" if forecast.steps == 1 else "steps"
    each = f"{forecast.folds} folds of " if forecast.folds > 1 else ""
    return f"{each}{thousands(forecast.steps)} {noun}"


def _hours(hours: float) -> str:
    """Write a duration with the unit that suits it."""
    for factor, unit in ((1, "h"), (60, "min")):
        if hours * factor >= 1:
            return f"{hours * factor:.3g} {unit}"
    return f"{hours * 3600:.3g} s"


def _size(gigabytes: float) -> str:
    """Write a size with the unit that suits it."""
    return f"{gigabytes:.2f} GB" if gigabytes >= 1 else f"{gigabytes * 1000:.0f} MB"
