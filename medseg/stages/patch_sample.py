"""Patch-sample: where each case's foreground is, and which patches training will see."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from medseg.artefacts import CaseLocations, PatchIndex, Plan, Resampled, ResampledCase
from medseg.errors import ConfigError, StageError
from medseg.stages.context import Context

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PatchSample:
    """Draw patches with a forced share of foreground, balanced over the classes."""

    writes: ClassVar[str] = "patches"
    patch_size: tuple[int, ...] | Literal["auto"] = "auto"
    """Patch size in voxels of the resampled grid."""
    foreground_share: float = 0.33
    """Share of patches centred on a foreground voxel, its class drawn uniformly."""
    balance: Literal["case", "dataset"] = "case"
    """Classes to draw a foreground patch's class from: those of the drawn case, or those of the
    whole data set (then a case that has it), so that a label that few cases hold is seen as often
    as the others. No difference where every case has every label."""
    cat_max_ratio: float = 1.0
    """A patch of which one class fills more than this share is moved within its case, up to ten
    times; 0.75 is usual for street scenes, 1 takes every patch."""
    rows: int = 2000
    """Rows of the index that are written out to be looked at."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.foreground_share <= 1:
            raise ConfigError(
                f"patch_sample.foreground_share: {self.foreground_share} must lie from 0 to 1"
            )
        if not 0 < self.cat_max_ratio <= 1:
            raise ConfigError(
                f"patch_sample.cat_max_ratio: {self.cat_max_ratio} must lie above 0, up to 1"
            )
        if self.rows < 0:
            raise ConfigError(f"patch_sample.rows: {self.rows} must be 0 or more")

    def run(self, resampled: Resampled, plan: Plan, context: Context) -> PatchIndex:
        """Return the index over the training cases.

        It covers every fold: which of them validates is the Train stage's choice. The table shows
        draws over all of them.
        """
        cases = {c.id: c for c in resampled.cases if c.split == "train" and c.label is not None}
        if not cases:
            raise StageError("no training case was resampled; see the cases that were set aside")
        items = {name: {"label": row.label, "seed": self.seed} for name, row in cases.items()}
        found = context.map_cases(locate_foreground, items)
        index = PatchIndex(
            seed=self.seed,
            foreground_share=self.foreground_share,
            balance=self.balance,
            cat_max_ratio=self.cat_max_ratio,
            locations=tuple(
                CaseLocations(id=name, voxels=row.voxels, file=row.file)
                for name, row in found.done.items()
            ),
            table=context.workdir / "patches.csv",
        )
        self._write_table(index, [cases[name] for name in found.done], plan)
        return index

    def _write_table(self, index: PatchIndex, cases: list[ResampledCase], plan: Plan) -> None:
        """Write the first draws, and log how they spread over classes and cases."""
        from medseg.io.store import open_array
        from medseg.sampling.redraw import draw_varied
        from medseg.sampling.sampler import PatchSampler

        sampler = PatchSampler(index, cases, plan.patch_size)
        labels = {c.id: (c.label, c.grid.shape) for c in cases if c.label is not None}
        names = {i: row.name for i, row in enumerate(plan.scheme.labels, start=1)}
        classes: Counter[str] = Counter()
        drawn: Counter[str] = Counter()
        with index.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            axes = [f"start_{axis}" for axis in "ijk"[: len(plan.patch_size)]]
            writer.writerow(["patch", "case", "class", *axes])
            for number in range(self.rows):
                ref = draw_varied(
                    sampler, number, lambda case: (open_array(labels[case][0]), labels[case][1])
                )
                name = "" if ref.foreground is None else names[ref.foreground]
                writer.writerow([number, ref.case, name, *ref.start])
                classes[name or "anywhere"] += 1
                drawn[ref.case] += 1
        if not drawn:
            return
        spread = ", ".join(f"{name} {count}" for name, count in sorted(classes.items()))
        logger.info("first %d patches: %s", self.rows, spread)
        low, high = min(drawn[c.id] for c in cases), max(drawn.values())
        logger.info("patches per case: %d to %d over %d cases", low, high, len(cases))


@dataclass(frozen=True, kw_only=True)
class Located:
    """What `locate_foreground` found."""

    voxels: dict[int, int]
    file: Path


def locate_foreground(label: Path, seed: int, *, out: Path) -> Located:
    """Store sampled foreground voxels of one case.

    Parameters
    ----------
    label : Path
        Store of class indices; its folder's name is a key of its content.
    seed : int
    out : Path
        Folder for ``foreground.npz``.
    """
    import numpy as np

    from medseg.io.store import open_array
    from medseg.sampling.sampler import sample_locations

    voxels, coordinates = sample_locations(open_array(label).read_all(), seed)
    path = out / "foreground.npz"
    np.savez(path, **{f"c{index}": array for index, array in coordinates.items()})  # type: ignore[arg-type]
    return Located(voxels=voxels, file=path)
