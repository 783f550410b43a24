"""From the fingerprint and the config's wishes to a plan, decision by decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.artefacts import ChannelNormalization, Dataset, Decision, Plan
from medseg.errors import ConfigError, ManifestError
from medseg.planning.device_plan import DevicePlan
from medseg.planning.grid_plan import GridPlan
from medseg.planning.lowres import patch_share, plan_low_resolution
from medseg.planning.mirror import plan_mirror_axes
from medseg.planning.normalization import plan_normalization
from medseg.planning.spacing import coarse_axis
from medseg.planning.wishes import SET, Wishes
from medseg.planning.wording import by, normalization_words


@dataclass
class Planner:
    """Takes the decisions in order and writes down each with its rule and data."""

    dataset: Dataset
    wishes: Wishes
    device: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        self.fingerprint = self.dataset.fingerprint
        self.decisions: dict[str, Decision] = {}
        self.ndim = len(self.fingerprint.spacings[0])
        self.device_plan = DevicePlan(
            dataset=self.dataset,
            wishes=self.wishes,
            device=self.device,
            scale=self.scale,
            decide=self.decide,
        )

    def plan(self) -> Plan:
        """Return the plan.

        Raises
        ------
        ConfigError, ManifestError
            If a value set in the config or the manifest does not fit the data.
        """
        normalization = self._normalization()
        grid = GridPlan(fingerprint=self.fingerprint, wishes=self.wishes, decide=self.decide)
        spacing = grid.spacing()
        shape = grid.median_shape(spacing)
        slice_axis = self._slice_axis(spacing)
        spacing, shape, batch_dice = self._resolution(spacing, shape, slice_axis)
        coarse = self._coarse_axis(spacing)
        fit = self.device_plan.fit(spacing, shape, slice_axis)
        return Plan(
            spacing=spacing,
            normalization=normalization,
            coarse_axis=coarse,
            order=self.wishes.order,
            crop=self.wishes.crop,
            resize=self.wishes.resize,
            patch_size=fit.patch_size,
            batch_size=fit.batch_size,
            slice_axis=slice_axis,
            mirror_axes=self._mirror_axes(slice_axis),
            batch_dice=batch_dice,
            previous_classes=self.device_plan.previous_classes,
            network=fit.network,
            budget=self._budget(),
            scheme=self.dataset.scheme,
            info=self.dataset.info,
            decisions=tuple(self.decisions.values()),
        )

    def decide(self, key: str, value: Any, rule: str, data: str) -> None:
        """Write down one decision; a later one on the same key takes its place."""
        self.decisions[key] = Decision(key=key, value=value, rule=rule, data=data)

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

    def _resolution(
        self, spacing: tuple[float, ...], shape: tuple[int, ...], slice_axis: int | None
    ) -> tuple[tuple[float, ...], tuple[int, ...], bool]:
        """Decide between full and low resolution.

        Returns
        -------
        (tuple of float, tuple of int, bool)
            Spacing and median shape, and whether the loss takes one Dice over the batch.
        """
        wanted = self.wishes.resolution
        if self.ndim == 2 or slice_axis is not None:
            if wanted == "low":
                raise ConfigError(
                    "resample.resolution: low is for 3-D networks; set it to full, or "
                    "network.ndim to 3"
                )
            self._batch_dice(True, "2-D network")
            return spacing, shape, True
        low = plan_low_resolution(spacing, shape, self.device_plan.topology_at)
        covered = patch_share(self.device_plan.topology_at(spacing, shape).patch_size, shape)
        seen = f"the patch covers {min(covered, 1):.0%} of the median case {by(shape)}"
        if low is None and wanted == "low":
            raise ConfigError(
                f"resample.resolution: low does not exist for {self.dataset.info.name}: {seen} at "
                f"{by(spacing)} mm, and a coarser grid would not show it much more; set it to full"
            )
        if low is not None:
            seen += f"; low is {by(low.spacing)} mm"
        self.decide(
            "resample.resolution",
            wanted,
            "full unless set to low, which exists where a patch covers less than 25 %",
            seen,
        )
        if low is not None and wanted == "low":
            data = f"median shape {by(low.shape)}, of which a patch covers {low.covered:.0%}"
            rule = "grown by 3 % at a time until a patch covers 25 % of the median case"
            self.decide("resample.spacing", low.spacing, rule, data)
            self._batch_dice(False, "low resolution")
            return low.spacing, low.shape, False
        self._batch_dice(low is not None, seen)
        return spacing, shape, low is not None

    def _batch_dice(self, value: bool, data: str) -> None:
        """Write down how the default loss takes its Dice."""
        self.decide(
            "batch_dice",
            value,
            "one Dice over the batch where a patch shows little of a case: in 2-D, and at full "
            "resolution where a low one exists; for the default loss",
            data,
        )

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


def make_plan(dataset: Dataset, wishes: Wishes, device: str, *, scale: float = 1.0) -> Plan:
    """Decide every value that shapes the network and its input.

    Parameters
    ----------
    dataset : Dataset
        Its fingerprint decides what is ``auto``.
    wishes : Wishes
        A value set here stands as it is.
    device : str
        ``cpu`` or an accelerator; decides how large patch, batch and network may be.
    scale : float
        Of the memory that is planned for: below 1 where a measured step did not fit.

    Raises
    ------
    ConfigError, ManifestError
        If a value set in the config or the manifest does not fit the data.
    """
    return Planner(dataset=dataset, wishes=wishes, device=device, scale=scale).plan()
