"""From the fingerprint and the config's wishes to a plan, decision by decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from medseg.artefacts import ChannelNormalization, Dataset, Decision, NetworkSpec, Plan
from medseg.errors import ConfigError, ManifestError
from medseg.planning.capacity import capacity_of
from medseg.planning.mirror import plan_mirror_axes
from medseg.planning.network import network_arguments, topology_rule
from medseg.planning.normalization import plan_normalization
from medseg.planning.patch import plan_patch
from medseg.planning.spacing import coarse_axis, median_shape, target_spacing
from medseg.planning.topology import Topology
from medseg.planning.wording import argument_rule, by, drop, insert, normalization_words
from medseg.settings import NetworkSettings

SET = "set in the config"
Auto = Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the config says of the values that can be planned."""

    spacing: tuple[float, ...] | Auto = "auto"
    order: int = 3
    crop: bool = True
    patch_size: tuple[int, ...] | Auto = "auto"
    batch_size: int | Auto = "auto"
    budget: str = "auto"
    network: NetworkSettings = field(default_factory=NetworkSettings)


@dataclass
class Planner:
    """Takes the decisions in order and writes down each with its rule and data."""

    dataset: Dataset
    wishes: Wishes
    device: str

    def __post_init__(self) -> None:
        self.fingerprint = self.dataset.fingerprint
        self.decisions: list[Decision] = []
        self.ndim = len(self.fingerprint.spacings[0])

    def plan(self) -> Plan:
        """Return the plan.

        Raises
        ------
        ConfigError, ManifestError
            If a value set in the config or the manifest does not fit the data.
        """
        normalization = self._normalization()
        spacing = self._spacing()
        shape = median_shape(self.fingerprint.spacings, self.fingerprint.shapes, spacing)
        slice_axis = self._slice_axis(spacing)
        topology, arguments = self._network(spacing, shape, slice_axis)
        return Plan(
            spacing=spacing,
            normalization=normalization,
            coarse_axis=self._coarse_axis(spacing),
            order=self.wishes.order,
            crop=self.wishes.crop,
            patch_size=insert(topology.patch_size, slice_axis, 1),
            batch_size=self._batch_size(topology, shape),
            slice_axis=slice_axis,
            mirror_axes=self._mirror_axes(slice_axis),
            network=NetworkSpec(name=self.wishes.network.name, arguments=arguments),
            budget=self._budget(),
            scheme=self.dataset.scheme,
            info=self.dataset.info,
            decisions=tuple(self.decisions),
        )

    def decide(self, key: str, value: Any, rule: str, data: str) -> None:
        """Write down one decision."""
        self.decisions.append(Decision(key=key, value=value, rule=rule, data=data))

    def _normalization(self) -> tuple[ChannelNormalization, ...]:
        """Decide each channel's normalisation."""
        info = self.dataset.info
        schemes = self.dataset.normalization or ("auto",) * len(info.channels)
        plans = plan_normalization(
            schemes,
            self.fingerprint.intensities,
            modality=info.modality,
            crop_ratio=self.fingerprint.crop_ratio,
        )
        for name, scheme, plan, seen in zip(
            info.channels, schemes, plans, self.fingerprint.intensities, strict=True
        ):
            self.decide(
                f"normalization.{name}",
                normalization_words(plan),
                "ct for modality CT, else zscore; over non-zero voxels where the crop to content "
                "keeps less than 75 %"
                if scheme == "auto"
                else "set in the manifest",
                f"modality {info.modality}; foreground mean {seen.mean:.4g}, sd {seen.std:.4g}; "
                f"the crop keeps {self.fingerprint.crop_ratio:.0%}",
            )
        return plans

    def _spacing(self) -> tuple[float, ...]:
        """Decide the target spacing."""
        medians = np.median(np.asarray(self.fingerprint.spacings), axis=0)
        seen = f"median {by(medians)}, of {len(self.fingerprint.spacings)} training cases"
        if self.wishes.spacing != "auto":
            spacing = tuple(float(s) for s in self.wishes.spacing)
            if len(spacing) != self.ndim or min(spacing) <= 0:
                raise ConfigError(
                    f"resample.spacing: {list(spacing)} must be {self.ndim} positive numbers (mm), "
                    f"or auto; the data's is about {by(medians)}"
                )
            self.decide("resample.spacing", spacing, SET, seen)
            return spacing
        spacing = target_spacing(self.fingerprint.spacings, self.fingerprint.shapes)
        self.decide(
            "resample.spacing",
            spacing,
            "median per axis; 10th percentile along one axis more than 3 times coarser and thinner",
            seen,
        )
        return spacing

    def _coarse_axis(self, spacing: tuple[float, ...]) -> int | None:
        """Decide whether one axis is interpolated apart."""
        source = tuple(float(s) for s in np.median(np.asarray(self.fingerprint.spacings), axis=0))
        axis = coarse_axis(source, spacing)
        self.decide(
            "resample.coarse_axis",
            axis,
            "the axis more than 3 times coarser than the finest, in the median case or the target",
            f"median {by(source)}, target {by(spacing)}",
        )
        return axis

    def _slice_axis(self, spacing: tuple[float, ...]) -> int | None:
        """Decide the dimension of the network and the axis it walks along."""
        wanted = self.wishes.network.ndim
        ndim = self.ndim if wanted == "auto" else wanted
        if ndim > self.ndim:
            raise ConfigError(
                f"network.ndim: {ndim} does not fit {self.ndim}-D data; "
                f"set it to {self.ndim} or auto"
            )
        rule = "the dimension of the data" if wanted == "auto" else SET
        self.decide("network.ndim", ndim, rule, f"{self.ndim}-D data")
        if ndim == self.ndim:
            return None
        coarsest = np.flatnonzero(np.isclose(spacing, max(spacing), rtol=1e-3))
        axis = int(coarsest[-1])
        self.decide(
            "network.slice_axis",
            axis,
            "slices across the axis of largest spacing (the last of equals)",
            f"target {by(spacing)}",
        )
        return axis

    def _network(
        self, spacing: tuple[float, ...], shape: tuple[int, ...], slice_axis: int | None
    ) -> tuple[Topology, dict[str, Any]]:
        """Decide patch size and network arguments, which depend on each other."""
        given = self.wishes.network.arguments
        capacity = capacity_of(self.device)
        seen_mm, seen_shape = drop(spacing, slice_axis), drop(shape, slice_axis)
        data = f"median shape {by(shape)} at {by(spacing)}, device {self.device}"
        classes = self.dataset.scheme.num_classes
        if self.wishes.patch_size == "auto":
            rule = topology_rule(seen_mm, given, capacity, exact=False)
            topology = plan_patch(
                seen_mm, seen_shape, lambda t: capacity.too_large(t, classes), rule
            )
            why = f"as large as the median case and the device allow ({capacity.rule})"
        else:
            rule = topology_rule(seen_mm, given, capacity, exact=True)
            topology = self._set_patch(slice_axis, rule)
            why = SET
        patch_size = insert(topology.patch_size, slice_axis, 1)
        self.decide("patch_sample.patch_size", patch_size, why, data)
        planned = network_arguments(
            self.wishes.network.name,
            topology,
            in_channels=len(self.dataset.info.channels),
            num_classes=classes,
            capacity=capacity,
        )
        arguments = planned | dict(given)
        for key, value in arguments.items():
            rule_text = SET if key in given else argument_rule(key, capacity.rule)
            self.decide(f"network.arguments.{key}", value, rule_text, f"patch {by(patch_size)}")
        return topology, arguments

    def _set_patch(
        self, slice_axis: int | None, rule: Callable[[Sequence[int]], Topology]
    ) -> Topology:
        """Check a patch size of the config and return its topology."""
        wanted = self.wishes.patch_size
        assert wanted != "auto"
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
        data = f"patch {by(topology.patch_size)}, {len(self.fingerprint.shapes)} training cases"
        if self.wishes.batch_size != "auto":
            self.decide("train.batch_size", self.wishes.batch_size, SET, data)
            return self.wishes.batch_size
        capacity = capacity_of(self.device)
        size = capacity.batch_size(
            topology, self.dataset.scheme.num_classes, shape, len(self.fingerprint.shapes)
        )
        self.decide("train.batch_size", size, capacity.rule, data)
        return size

    def _mirror_axes(self, slice_axis: int | None) -> tuple[int, ...]:
        """Decide the axes that are flipped; a flip across slices of one voxel is none."""
        scheme = self.dataset.scheme
        names = [*(row.name for row in scheme.labels), *(row.name for row in scheme.regions)]
        if self.dataset.mirror_axes is not None:
            axes, rule = self.dataset.mirror_axes, "set in the manifest"
            if any(not 0 <= a < self.ndim for a in axes):
                raise ManifestError(
                    f"mirror_axes: {list(axes)} must be axes from 0 to {self.ndim - 1} "
                    f"of the {self.ndim}-D data of {self.dataset.info.name}"
                )
        else:
            axes = plan_mirror_axes(names, self.ndim)
            rule = "left-right, unless a label's name says left or right"
        axes = tuple(a for a in axes if a != slice_axis)
        self.decide("mirror_axes", axes, rule, f"labels {', '.join(names)}")
        return axes

    def _budget(self) -> str:
        """Decide how long to train."""
        origin = self.dataset.info.origin
        if self.wishes.budget != "auto":
            self.decide("train.budget", self.wishes.budget, SET, f"{origin} data")
            return self.wishes.budget
        budget = "150s" if origin == "SYNTHETIC" else "2h"
        self.decide(
            "train.budget", budget, "150s for a demonstration, 2h for real data", f"{origin} data"
        )
        return budget


def make_plan(dataset: Dataset, wishes: Wishes, device: str) -> Plan:
    """Decide every value that shapes the network and its input.

    Parameters
    ----------
    dataset : Dataset
        Its fingerprint decides what is ``auto``.
    wishes : Wishes
        A value set here stands as it is.
    device : str
        ``cpu`` or an accelerator; decides how large patch, batch and network may be.

    Raises
    ------
    ConfigError, ManifestError
        If a value set in the config or the manifest does not fit the data.
    """
    return Planner(dataset=dataset, wishes=wishes, device=device).plan()
