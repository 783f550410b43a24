"""The grid that cases are brought to: target spacing, and the median case on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.artefacts import Fingerprint
from medseg.errors import ConfigError
from medseg.geometry.resize import Resize
from medseg.planning.spacing import median_shape, target_spacing
from medseg.planning.wishes import SET, Wishes
from medseg.planning.wording import by


@dataclass
class GridPlan:
    """Plans spacing and median shape, and hands each decision to ``decide``."""

    fingerprint: Fingerprint
    wishes: Wishes
    decide: Callable[[str, Any, str, str], None]

    def __post_init__(self) -> None:
        self.ndim = len(self.fingerprint.spacings[0])

    def spacing(self) -> tuple[float, ...]:
        """Decide the target spacing in mm, canonical axis order.

        Raises
        ------
        ConfigError
            If a spacing or size of the config does not fit the data.
        """
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
        if self.wishes.resize is not None:
            return self._resized_spacing(self.wishes.resize, seen)
        spacing = target_spacing(self.fingerprint.spacings, self.fingerprint.shapes)
        self.decide(
            "resample.spacing",
            spacing,
            "median per axis; 10th percentile along one axis more than 3 times coarser and thinner",
            seen,
        )
        return spacing

    def median_shape(self, spacing: tuple[float, ...]) -> tuple[int, ...]:
        """Return the median shape as the network sees the cases."""
        if self.wishes.resize is None:
            return median_shape(self.fingerprint.spacings, self.fingerprint.shapes, spacing)
        relative = np.asarray(self.fingerprint.spacings) / np.asarray(self._resized())
        return median_shape(relative, self.fingerprint.shapes, (1.0,) * self.ndim)

    def _resized_spacing(self, resize: Resize, seen: str) -> tuple[float, ...]:
        """Return the median spacing of the resized photographs.

        Raises
        ------
        ConfigError
            If the data are volumes, or the size has another number of axes.
        """
        wanted = resize.size or (resize.short_side or 0,) * 2
        if self.ndim != 2 or len(wanted) != 2:
            raise ConfigError(
                f"resample.size and short_side are for photographs, [rows, cols]; the data is "
                f"{self.ndim}-D: set resample.spacing instead"
            )
        medians = np.median(np.asarray(self._resized()), axis=0)
        spacing = tuple(float(s) for s in medians)
        size = by(resize.size) if resize.size else f"short side {resize.short_side}"
        self.decide("resample.spacing", spacing, f"{size} px, {SET}; this is the median", seen)
        return spacing

    def _resized(self) -> list[tuple[float, ...]]:
        """Return the spacing that each case is brought to; its own where no size is set."""
        pairs = zip(self.fingerprint.shapes, self.fingerprint.spacings, strict=True)
        resize = self.wishes.resize
        return [resize.spacing(*pair) if resize else pair[1] for pair in pairs]
