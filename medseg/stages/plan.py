"""Plan: what every ``auto`` value becomes, with its rule and its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from medseg.artefacts import Dataset, Plan
from medseg.settings import NetworkSettings
from medseg.stages.context import Context
from medseg.stages.patch_sample import PatchSample
from medseg.stages.resample import Resample
from medseg.stages.train import Train


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
        """Return the plan."""
        raise NotImplementedError
