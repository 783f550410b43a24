"""Patch, network and batch: what depends on the device, and on each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.artefacts import Dataset, NetworkSpec
from medseg.errors import ConfigError
from medseg.planning.capacity import CpuCapacity, capacity_of
from medseg.planning.narrow import affordable_batch, narrowed_arguments, scale_words
from medseg.planning.network import RULES, network_arguments, settled, topology_rule
from medseg.planning.patch import plan_patch
from medseg.planning.topology import Topology
from medseg.planning.wishes import SET, Wishes
from medseg.planning.wording import argument_rule, by, drop, insert


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What fits the device."""

    patch_size: tuple[int, ...]
    """All axes of the data; 1 along the slice axis of a slice-wise network."""
    batch_size: int
    network: NetworkSpec


@dataclass
class DevicePlan:
    """Plans patch, network and batch size, and hands each decision to ``decide``."""

    dataset: Dataset
    wishes: Wishes
    device: str
    scale: float
    decide: Callable[[str, Any, str, str], None]

    def __post_init__(self) -> None:
        network, given = self.wishes.network, self.wishes.gigabytes
        capacity = capacity_of(self.device, network.name, network.preset, given)
        self.capacity = capacity if self.scale == 1 else capacity.scaled(self.scale)
        self.cases = len(self.dataset.fingerprint.shapes)
        self.classes = self.dataset.scheme.num_classes
        labels = len(self.dataset.scheme.labels)
        self.previous_classes = 0 if self.wishes.previous is None else labels
        self.ndim = len(self.dataset.fingerprint.spacings[0])

    def topology_at(self, spacing: Sequence[float], shape: Sequence[int]) -> Topology:
        """Return the patch for a spacing and a median shape, without writing it down."""
        return self._topology(tuple(spacing), tuple(shape), None)

    def fit(
        self, spacing: tuple[float, ...], shape: tuple[int, ...], slice_axis: int | None
    ) -> Fit:
        """Decide patch size, batch size and network.

        Raises
        ------
        ConfigError
            If a patch size, preset or network of the config does not fit.
        """
        self._memory()
        topology = self._topology(spacing, shape, slice_axis)
        patch_size = insert(topology.patch_size, slice_axis, 1)
        data = f"median shape {by(shape)} at {by(spacing)}, device {self.device}"
        why = f"as large as the median case and the device allow ({self.capacity.rule})"
        if self.wishes.patch_size != "auto":
            why = SET
        self.decide("patch_sample.patch_size", patch_size, why, data)
        batch_size = self._batch_size(topology, shape)
        network = self._network(topology, batch_size, patch_size)
        batch_size = self._lighter(network, topology, batch_size)
        return Fit(patch_size=patch_size, batch_size=batch_size, network=network)

    def _memory(self) -> None:
        """Write down the preset, and the memory that patch and batch are planned for."""
        network, memory = self.wishes.network, self.wishes.memory
        data = f"network {network.name}, device {self.device}"
        preset, planned_for = "few cores", "what is free"
        if not isinstance(self.capacity, CpuCapacity):
            preset = self.capacity.preset.name
            planned_for = f"{self.capacity.gigabytes:.4g}GB"
        rule = "on a CPU a network for a few cores; else M for resenc_unet, default for others"
        self.decide("network.preset", preset, rule if network.preset == "auto" else SET, data)
        cpu = isinstance(self.capacity, CpuCapacity)
        rule = (
            "as much as the largest patch and batch take" if cpu else "what the preset is made for"
        )
        rule += ", less where a measured step does not fit"
        if memory != "auto":
            rule, planned_for = SET, memory
        seen = "as the preset is" if self.scale == 1 else "after measured steps"
        data = f"patch and batch planned for {self.scale:.0%} of it, {seen}"
        self.decide("train.memory", planned_for, rule, data)

    def _topology(
        self, spacing: tuple[float, ...], shape: tuple[int, ...], slice_axis: int | None
    ) -> Topology:
        """Return the planned patch, or the config's, with its topology."""
        given = self.wishes.network.arguments
        seen_mm, seen_shape = drop(spacing, slice_axis), drop(shape, slice_axis)
        if self.wishes.patch_size != "auto":
            rule = topology_rule(seen_mm, given, self.capacity, exact=True)
            return self._set_patch(self.wishes.patch_size, slice_axis, rule)
        rule = topology_rule(seen_mm, given, self.capacity, exact=False)
        return plan_patch(
            seen_mm, seen_shape, lambda t: self.capacity.too_large(t, self.classes), rule
        )

    def _set_patch(
        self,
        wanted: Sequence[int],
        slice_axis: int | None,
        rule: Callable[[Sequence[int]], Topology],
    ) -> Topology:
        """Check a patch size of the config and return its topology."""
        sides = tuple(int(n) for n in wanted)
        if slice_axis is not None and len(sides) == self.ndim and sides[slice_axis] == 1:
            sides = drop(sides, slice_axis)
        expected = self.ndim - (slice_axis is not None)
        if len(sides) != expected or min(sides) < 1:
            raise ConfigError(
                f"patch_sample.patch_size: {list(wanted)} must be {expected} positive integers"
                + ("" if slice_axis is None else f" (or {self.ndim} with 1 at axis {slice_axis})")
            )
        topology = rule(sides)
        if topology.patch_size != sides:
            raise ConfigError(
                f"patch_sample.patch_size: {list(sides)} is not a multiple of "
                f"{list(topology.divisor)}, which the network's strides need; "
                f"{list(topology.patch_size)} is"
            )
        return topology

    def _batch_size(self, topology: Topology, shape: tuple[int, ...]) -> int:
        """Decide the batch size."""
        data = f"patch {by(topology.patch_size)}, {self.cases} training cases"
        if self.wishes.batch_size != "auto":
            self.decide("train.batch_size", self.wishes.batch_size, SET, data)
            return self.wishes.batch_size
        size = self.capacity.batch_size(topology, self.classes, shape, self.cases)
        self.decide("train.batch_size", size, self.capacity.rule, data)
        return size

    def _network(
        self, topology: Topology, batch_size: int, patch_size: tuple[int, ...]
    ) -> NetworkSpec:
        """Decide the arguments of the network."""
        name, given = self.wishes.network.name, self.wishes.network.arguments
        planned = network_arguments(
            name,
            topology,
            in_channels=len(self.dataset.info.channels) + self.previous_classes,
            num_classes=self.classes,
            capacity=self.capacity,
            cases=self.cases,
        )
        rules = {key: argument_rule(key, self.capacity.rule) for key in planned}
        if self._counted(planned):
            spec = NetworkSpec(name=name, arguments=planned | dict(given))
            narrow, scale = narrowed_arguments(spec, topology.patch_size, batch_size)
            if narrow:
                why = f"{scale_words(scale, narrow)}: a step as light as the planned U-Net's"
                planned |= narrow
                rules |= dict.fromkeys(narrow, why)
        arguments = settled(name, planned | dict(given))
        for key, value in arguments.items():
            rule = rules[key] if key in rules and key not in given else SET
            self.decide(f"network.arguments.{key}", value, rule, self._behind(key, patch_size))
        return NetworkSpec(name=name, arguments=arguments)

    def _behind(self, key: str, patch_size: tuple[int, ...]) -> str:
        """Name the data that a network argument follows from."""
        if key == "in_channels":
            labels = f" and {self.previous_classes} labels" if self.previous_classes else ""
            return f"channels {', '.join(self.dataset.info.channels)}{labels}"
        if key == "num_classes":
            names = self.dataset.scheme.output_names
            return f"outputs {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        if key == "norm":
            return f"{self.cases} training cases"
        return f"patch {by(patch_size)}"

    def _lighter(self, network: NetworkSpec, topology: Topology, batch_size: int) -> int:
        """Lower the planned batch of a network that could not be made light enough for a CPU."""
        if self.wishes.batch_size != "auto" or not self._counted(network.arguments):
            return batch_size
        fewer = affordable_batch(network, topology.patch_size, batch_size)
        if fewer < batch_size:
            data = f"patch {by(topology.patch_size)}, {batch_size} fit the memory"
            rule = "a step as light as the planned U-Net's, or as it can be with two patches"
            self.decide("train.batch_size", fewer, rule, data)
        return fewer

    def _counted(self, arguments: Mapping[str, Any]) -> bool:
        """Tell whether a network's work is counted: on a CPU, without a planning rule's widths."""
        return isinstance(self.capacity, CpuCapacity) and (
            self.wishes.network.name not in RULES or "widths" not in arguments
        )
