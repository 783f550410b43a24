"""What a device can train on: nnU-Net's presets for a GPU, a fixed budget of voxels for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from medseg.errors import ConfigError
from medseg.planning.patch import coverage_cap, resenc_activations, unet_activations
from medseg.planning.presets import PRESETS, Preset
from medseg.planning.topology import Topology
from medseg.planning.wording import thousands

QUOTED_BATCH = {2: 12, 3: 2}
"""Batch size for which a preset's reference values are quoted."""


@dataclass(frozen=True, kw_only=True)
class GpuCapacity:
    """One of nnU-Net's presets, its budget scaled to ``memory`` (planning.md P4)."""

    preset: Preset = PRESETS["default"]
    memory: float | None = None
    """GB to plan for; None: what the preset is made for."""
    max_levels: int | None = None

    @property
    def gigabytes(self) -> float:
        """GB that are planned for."""
        return self.preset.memory if self.memory is None else self.memory

    @property
    def rule(self) -> str:
        """How the plan calls this rule."""
        return f"nnU-Net's {self.preset.title} and memory estimate for {self.gigabytes:.4g} GB"

    def scaled(self, factor: float) -> GpuCapacity:
        """Return the same rule for ``factor`` times the memory."""
        return replace(self, memory=self.gigabytes * factor)

    def widths(self, levels: int, ndim: int) -> tuple[int, ...]:
        """Return the channels of each level: 32, doubled per level, up to 320 (512 in 2-D)."""
        return tuple(min(32 * 2**i, 320 if ndim == 3 else 512) for i in range(levels))

    def _budget(self, ndim: int) -> float:
        """Return the estimate that fills the memory."""
        return self.preset.reference[ndim] * self.gigabytes / self.preset.memory

    def _need(self, topology: Topology, num_classes: int) -> int:
        """Return the estimate for one sample."""
        widths = self.widths(len(topology.strides), len(topology.patch_size))
        count = resenc_activations if self.preset.residual else unet_activations
        return count(topology, widths, num_classes)

    def too_large(self, topology: Topology, num_classes: int) -> bool:
        """Tell whether a patch does not fit: two samples of a U-Net, or one of a ResEnc."""
        ndim = len(topology.patch_size)
        samples = 1.0 if self.preset.residual else 2 / QUOTED_BATCH[ndim]
        return self._need(topology, num_classes) * samples > self._budget(ndim)

    def batch_size(
        self, topology: Topology, num_classes: int, shape: Sequence[int], cases: int
    ) -> int:
        """Return what fits, no more than the preset's share of the training voxels, at least 2.

        ``shape`` is the median shape with all its axes, also for a slice-wise network.
        """
        ndim = len(topology.patch_size)
        fill = self._budget(ndim) / self._need(topology, num_classes)
        cap = coverage_cap(topology.patch_size, shape, cases, self.preset.coverage)
        return max(min(round(fill * QUOTED_BATCH[ndim]), cap), 2)


@dataclass(frozen=True, kw_only=True)
class CpuCapacity:
    """A few cores: a thin finest level, and few enough voxels for about two steps a second."""

    patch_voxels: int = 48**3
    """Voxels of one patch at most."""
    batch_voxels: int = 800_000
    """Voxels of one batch at most."""
    max_batch: int = 64
    max_levels: int | None = 5

    @property
    def rule(self) -> str:
        """How the plan calls this rule."""
        side = round(self.patch_voxels ** (1 / 3))
        patch = f"{side}^3" if side**3 == self.patch_voxels else thousands(self.patch_voxels)
        batch = thousands(self.batch_voxels)
        return f"at most {patch} voxels a patch and {batch} a batch, for a few CPU cores"

    def scaled(self, factor: float) -> CpuCapacity:
        """Return the same rule for ``factor`` times the voxels, and never for more than usual."""
        least = min(factor, 1.0)
        return replace(
            self,
            patch_voxels=round(self.patch_voxels * least),
            batch_voxels=round(self.batch_voxels * least),
        )

    def widths(self, levels: int, ndim: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return the channels of each level: 12 where convolutions are dear, then 48, 96, 192.

        8, 32, 64, 128 were as good on hippocampus in the same time, and worse on small tumours.
        """
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


def capacity_of(
    device: str, network: str = "unet", preset: str = "auto", memory: float | None = None
) -> Capacity:
    """Return the rule that says how large patch, batch and network may be.

    Parameters
    ----------
    device : str
        ``cpu`` or an accelerator.
    network : str
        Name of the network: ``resenc_unet`` has presets of its own.
    preset : str
        ``auto`` is the CPU's rule on a CPU, else ``M`` for ``resenc_unet`` and ``default`` for
        every other network; a preset that is named holds on a CPU as well.
    memory : float, optional
        GB of the device to plan for instead of the preset's.

    Raises
    ------
    ConfigError
        If the preset is not one of the network.
    """
    residual = network == "resenc_unet"
    if preset == "auto":
        if device == "cpu":
            return CpuCapacity()
        preset = "M" if residual else "default"
    fitting = [name for name, one in PRESETS.items() if one.residual == residual]
    if preset not in fitting:
        others = "" if residual else "; M, L and XL are for network.name: resenc_unet"
        raise ConfigError(
            f"network.preset: '{preset}' does not fit network '{network}'; "
            f"use auto or {', '.join(fitting)}{others}"
        )
    return GpuCapacity(preset=PRESETS[preset], memory=memory)
