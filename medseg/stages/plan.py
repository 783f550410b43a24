"""Plan: what every ``auto`` value becomes, with its rule and its data."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import ClassVar

from medseg.artefacts import Dataset, Plan
from medseg.planning.planner import Wishes, make_plan
from medseg.settings import NetworkSettings
from medseg.stages.context import Context
from medseg.stages.patch_sample import PatchSample
from medseg.stages.resample import Resample
from medseg.stages.train import Train

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Planning:
    """Resolve ``auto`` from the fingerprint; a value set in the config stands as it is.

    The fields are other sections of the config (see `medseg.pipelines.build`); this stage has no
    section of its own. What depends on the device's speed alone (inference tiles) is not planned
    here, so that changing it never retrains.
    """

    writes: ClassVar[str] = "plan"
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
        """
        import torch

        from medseg.networks import build_network

        wishes = Wishes(
            spacing=self.resample.spacing,
            order=self.resample.order,
            crop=self.resample.crop,
            patch_size=self.patch_sample.patch_size,
            batch_size=self.train.batch_size,
            budget=self.train.budget,
            network=self.network,
        )
        plan = make_plan(dataset, wishes, context.device)
        with torch.device("meta"):  # checks the arguments without making weights
            build_network(plan.network, plan.slice_axis)
        logger.info(
            "%s, patch %s, batch size %d, budget %s; 'medseg plan' tells why",
            plan.network.name,
            " x ".join(str(n) for n in plan.patch_size),
            plan.batch_size,
            plan.budget,
        )
        for row in plan.decisions:
            logger.debug("%s = %s (%s; %s)", row.key, row.value, row.rule, row.data)
        return plan
