"""Fabric, which owns device, precision and processes; what it is told of a launcher."""

from __future__ import annotations

import warnings
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from medseg.launcher import Place
from medseg.training.task import Task


def make_fabric(
    kind: str, devices: Any, task: Task, strategy: Any = "auto", place: Place | None = None
) -> Fabric:
    """Return the Fabric that owns device, precision and processes.

    ``place`` is given where a launcher started the processes; without it Fabric is kept from
    looking for launchers by itself: a job of several tasks may well run one training alone.
    """
    environment = LightningEnvironment() if place is None else LaunchedEnvironment(place)
    with warnings.catch_warnings():
        # Fabric notes that a GPU is there and not used; the user has chosen the device.
        warnings.filterwarnings("ignore", message="GPU available but not used")
        return Fabric(
            accelerator=kind,
            devices=devices,
            num_nodes=1 if place is None else place.world,
            precision=task.recipe.precision,
            strategy=strategy,
            plugins=[environment],
        )


class LaunchedEnvironment(ClusterEnvironment):
    """Tells Fabric of processes that each have one device, as if each were a machine of its own.

    So it does not matter how many of them a machine has, or which of its GPUs they see.

    Parameters
    ----------
    place : Place
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    @staticmethod
    def detect() -> bool:
        """Is not asked: the environment is given."""
        return False

    @property
    def creates_processes_externally(self) -> bool:
        """Whether somebody else started the processes."""
        return True

    @property
    def main_address(self) -> str:
        """Host of the store."""
        return self.place.address

    @property
    def main_port(self) -> int:
        """Port of the store."""
        return self.place.port

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.place.world

    def set_world_size(self, size: int) -> None:
        """Do nothing: it is the launcher's."""

    def global_rank(self) -> int:
        """Return the number of this process."""
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: it is the launcher's."""

    def local_rank(self) -> int:
        """Return the number of the device, of the one that this process sees."""
        return 0

    def node_rank(self) -> int:
        """Return the number of this process."""
        return self.place.rank
