"""Plan: what every ``auto`` value becomes, with its rule and its data; then what it will take."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from medseg.artefacts import Dataset, Plan
from medseg.errors import StageError
from medseg.planning.planner import make_plan
from medseg.planning.wishes import Wishes
from medseg.settings import NetworkSettings
from medseg.stages.context import Context
from medseg.stages.patch_sample import PatchSample
from medseg.stages.previous import read_previous, unseen_predictions
from medseg.stages.resample import Resample
from medseg.stages.train import Train
from medseg.stages.train_folds import check_there

if TYPE_CHECKING:
    from medseg.planning.forecast import Budgeted, Measured, Room

logger = logging.getLogger(__name__)

FORECAST = "forecast.json"
"""File in the stage's folder; no part of the plan, so that no clock ever retrains a network."""


@dataclass(frozen=True, kw_only=True)
class Planning:
    """Resolve ``auto`` from the fingerprint; a value set in the config stands as it is.

    All fields but ``measure`` are other sections of the config (see `medseg.pipelines.build`).
    What depends on the device's speed alone (inference tiles) is not planned here, so that
    changing it never retrains; of what is measured, only what fits the memory enters the plan.
    """

    writes: ClassVar[str] = "plan"
    measure: bool = True
    """Take a few training steps to fit the plan to the memory and to foretell hours and GB."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    resample: Resample = field(default_factory=Resample)
    patch_sample: PatchSample = field(default_factory=PatchSample)
    train: Train = field(default_factory=Train)

    def run(self, dataset: Dataset, context: Context) -> Plan:
        """Return the plan; `Plan.decisions` tells why.

        Raises
        ------
        ConfigError
            If a value set in the config does not fit the data, or the network does not take an
            argument: better now than after hours of resampling.
        StageError
            If no step fits the memory, or the disk cannot hold the resampled cases.
        """
        check_there(self.train.folds, dataset)
        if self.resample.previous is not None:  # what it lacks is said before anything is made
            unseen_predictions(dataset, read_previous(Path(self.resample.previous), context))
        plan_at = partial(self._plan, dataset, context.device)
        plan = plan_at(1.0)
        count_parameters(plan)  # builds the network, which checks its arguments
        if self.train.start is not None:
            from medseg.training.start import check_start

            logger.info("network.weights: %s", check_start(plan.network, self.train.start))
        room, measured = None, None
        if self.measure:
            room = room_of(context)
            plan, measured = self._fit(plan_at, context.device)
        logger.info(
            "%s, patch %s, batch size %d, budget %s; 'medseg plan' tells why",
            plan.network.name,
            " x ".join(str(n) for n in plan.patch_size),
            plan.batch_size,
            plan.budget,
        )
        for row in plan.decisions:
            logger.debug("%s = %s (%s; %s)", row.key, row.value, row.rule, row.data)
        if room is not None and measured is not None:
            self._foretell(plan, dataset, measured, room, context)
        return plan

    def _plan(self, dataset: Dataset, device: str, scale: float) -> Plan:
        """Plan for a multiple of the memory."""
        wishes = Wishes(
            spacing=self.resample.spacing,
            resolution=self.resample.resolution,
            previous=self.resample.previous,
            order=self.resample.order,
            crop=self.resample.crop,
            resize=self.resample.resize,
            patch_size=self.patch_sample.patch_size,
            batch_size=self.train.batch_size,
            memory=self.train.memory,
            budget=self.train.budget,
            network=self.network,
        )
        return make_plan(dataset, wishes, device, scale=scale)

    def _fit(self, plan_at: partial[Plan], device: str) -> tuple[Plan, Measured]:
        """Return the plan whose step fits the memory, and what the step costs."""
        from medseg.planning.memory import fit_to_memory
        from medseg.planning.wishes import parse_memory

        stated = None if self.train.memory == "auto" else parse_memory(self.train.memory) * 1e9
        limit = min(stated or float("inf"), FILL * free_memory(device))

        def fits(cost: Measured) -> bool:
            return cost.device_bytes <= limit

        grow = stated is not None and device != "cpu"
        return fit_to_memory(plan_at, partial(self._cost, device=device), fits, grow=grow)

    def _cost(self, plan: Plan, device: str) -> Measured | None:
        """Measure a step of the plan, or of a smaller one where it would take minutes."""
        from dataclasses import replace

        from medseg.planning.forecast import Measured
        from medseg.planning.probe import probe_of
        from medseg.training.measure import measure_step

        probe = probe_of(plan, device)
        recipe = replace(self.train.recipe(plan, device), batch_size=probe.plan.batch_size)
        found = measure_step(probe.plan, recipe, device)
        if found is None:
            return None
        load = busy(device)
        basis = f"{recipe.precision}, made-up patches, {_times(found.steps)}{load}"
        if probe.factor != 1:
            sides = " x ".join(map(str, probe.plan.patch_size))
            basis += (
                f"; scaled by {probe.factor:.3g} from {recipe.batch_size} patches of {sides}, "
                "since the planned ones take long"
            )
        weights = STATE_BYTES * count_parameters(plan)

        def scaled(size: float) -> float:
            """Scale what depends on the voxels."""
            return size if size <= weights else weights + (size - weights) * probe.factor

        return Measured(
            seconds=found.seconds * probe.factor,
            device_bytes=scaled(found.device_bytes),
            host_bytes=scaled(found.host_bytes),
            basis=basis,
            disturbed=bool(load),
        )

    def _foretell(
        self,
        plan: Plan,
        dataset: Dataset,
        measured: Measured,
        room: Room,
        context: Context,
    ) -> None:
        """Write the forecast, say it, and refuse what the disk cannot hold."""
        from medseg.planning.forecast import (
            certainly_too_small,
            disk_words,
            forecast_words,
            make_forecast,
        )

        forecast = make_forecast(
            plan,
            dataset,
            measured,
            self._budget(plan, dataset),
            room,
            parameters=count_parameters(plan),
            device=context.device,
        )
        text = json.dumps(asdict(forecast), indent=2)
        (context.workdir / FORECAST).write_text(text + "\n", encoding="utf-8")
        logger.info("forecast: %s", forecast_words(forecast))
        stored = any(context.workdir.parent.parent.glob("*/cases/*/image.b2nd"))
        if certainly_too_small(forecast) and not stored:
            raise StageError(f"plan: {disk_words(forecast, room.where)}")
        for line in forecast.warnings:
            logger.warning("%s", line)

    def _budget(self, plan: Plan, dataset: Dataset) -> Budgeted:
        """Say how far the budget goes."""
        from medseg.planning.forecast import Budgeted
        from medseg.training.schedule import Budget

        budget = Budget.parse(plan.budget)
        folds = {row.fold for row in dataset.cases if row.split == "train" and row.fold is not None}
        wanted = self.train.folds
        count = 1 if isinstance(wanted, int) else len(folds if wanted == "all" else wanted)
        return Budgeted(
            text=plan.budget,
            seconds=budget.seconds,
            iterations=budget.iterations,
            validations=self.train.validations,
            folds=max(count, 1),
            devices=self.train.devices,
        )


STATE_BYTES = 4 * 4
"""Memory of a parameter: its weight, its gradient and two moments."""
FILL = 0.95
"""Share of the free memory that a step may take."""


def count_parameters(plan: Plan) -> int:
    """Build the planned network without its weights, which checks its arguments, and count them."""
    import torch

    from medseg.networks import build_network

    with torch.device("meta"):
        network = build_network(plan.network, plan.slice_axis)
    return sum(one.numel() for one in network.parameters())


def _times(steps: int) -> str:
    """Say what a measurement is of."""
    return "one step" if steps == 1 else f"median of {steps} steps"


def busy(device: str) -> str:
    """Say that other work slows a CPU's steps; nothing where it does not."""
    import psutil

    load, cores = psutil.getloadavg()[0], psutil.cpu_count() or 1
    if device != "cpu" or load <= 1.5 * cores:
        return ""
    return f"; this machine is busy (load {load:.1f} on {cores} cores), so they take long"


def free_memory(device: str) -> int:
    """Return the bytes that are free on a device."""
    if device == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    import torch

    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def room_of(context: Context) -> Room:
    """Return what the machine has free where the run is."""
    from medseg.planning.forecast import Room

    return Room(
        disk=shutil.disk_usage(context.workdir).free,
        host=free_memory("cpu"),
        device=free_memory(context.device),
        where=str(context.workdir.parent.parent.parent),
    )
