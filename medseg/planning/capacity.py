"""What a device can train on: two fixed rules, one for a GPU and one for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from medseg.planning.patch import coverage_cap, unet_activations
from medseg.planning.topology import Topology


@dataclass(frozen=True, kw_only=True)
class GpuCapacity:
    """nnU-Net's default preset: a plain U-Net in about 8 GB (planning.md P4)."""

    rule: str = "nnU-Net's rules and memory estimate for 8 GB"
    max_levels: int | None = None

    def widths(self, levels: int, ndim: int) -> tuple[int, ...]:
        """Return the channels of each level: 32, doubled per level, up to 320 (512 in 2-D)."""
        return tuple(min(32 * 2**i, 320 if ndim == 3 else 512) for i in range(levels))

    def _fill(self, topology: Topology, num_classes: int) -> tuple[float, int]:
        """Return budget over need for one sample, and the batch size it is quoted for."""
        ndim = len(topology.patch_size)
        budget, batch = (560e6, 2) if ndim == 3 else (85e6, 12)
        need = unet_activations(topology, self.widths(len(topology.strides), ndim), num_classes)
        return budget / need, batch

    def too_large(self, topology: Topology, num_classes: int) -> bool:
        """Tell whether two samples (twelve in 2-D) do not fit."""
        fill, batch = self._fill(topology, num_classes)
        return fill * batch < 2

    def batch_size(
        self, topology: Topology, num_classes: int, shape: Sequence[int], cases: int
    ) -> int:
        """Return what fits, no more than 5 % of the training voxels, at least 2.

        ``shape`` is the median shape with all its axes, also for a slice-wise network.
        """
        fill, batch = self._fill(topology, num_classes)
        cap = coverage_cap(topology.patch_size, shape, cases, 0.05)
        return max(min(round(fill * batch), cap), 2)


@dataclass(frozen=True, kw_only=True)
class CpuCapacity:
    """A few cores: a thin finest level, and few enough voxels for about two steps a second."""

    patch_voxels: int = 48**3
    """Voxels of one patch at most."""
    batch_voxels: int = 800_000
    """Voxels of one batch at most."""
    max_batch: int = 64
    rule: str = "at most 48^3 voxels a patch and 800 000 a batch, for a few CPU cores"
    max_levels: int | None = 5

    def widths(self, levels: int, ndim: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return the channels of each level: 12 where convolutions are dear, then 48, 96, 192."""
        return (12, 48, 96, 192, *(256,) * levels)[:levels]

    def too_large(self, topology: Topology, num_classes: int) -> bool:  # noqa: ARG002
        """Tell whether one patch has more voxels than the budget."""
        return prod(topology.patch_size) > self.patch_voxels

    def batch_size(
        self,
        topology: Topology,
        num_classes: int,  # noqa: ARG002
        shape: Sequence[int],  # noqa: ARG002
        cases: int,  # noqa: ARG002
    ) -> int:
        """Return as many patches as the voxels of a batch allow, from 2 to 64."""
        return max(min(self.batch_voxels // prod(topology.patch_size), self.max_batch), 2)


Capacity = GpuCapacity | CpuCapacity


def capacity_of(device: str) -> Capacity:
    """Return the rule for ``cpu`` or for any accelerator."""
    return CpuCapacity() if device == "cpu" else GpuCapacity()
