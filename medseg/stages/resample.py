"""Resample: normalised images and class indices at the planned spacing, in a chunked store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from medseg.artefacts import Dataset, IngestedCase, Plan, Resampled, ResampledCase
from medseg.case import Case
from medseg.errors import ConfigError
from medseg.geometry.resize import Resize
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme
from medseg.preprocessing import Box, Recipe, preprocess
from medseg.previous import add_previous
from medseg.stages.context import Context
from medseg.stages.ingest import bare_case, bare_scheme
from medseg.stages.previous import previous_token, read_previous, unseen_predictions


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Bring every case to one spacing: splines for images, linear one-hot for labels.

    The plan carries these settings to wherever an image is prepared, so that prediction does
    exactly what training did.
    """

    writes: ClassVar[str] = "resampled"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    """Target spacing in mm, canonical axis order (left-right, front-back, feet-head); of
    photographs in px of the original: 2 halves them."""
    short_side: int | None = None
    """For photographs in place of a spacing: px of the shorter side that each is brought to."""
    size: tuple[int, ...] | None = None
    """For photographs in place of a spacing: [rows, cols] that each is brought to, distorted
    where its own sides differ in proportion."""
    resolution: Literal["full", "low"] = "full"
    """``low``: a coarser grid on which a patch covers a quarter of a case (nnU-Net's 3d_lowres)."""
    previous: str | None = None
    """Folder of a finished run of the same manifest with ``train.folds: all``: the network also
    sees what that run predicts (a cascade). See ``docs/cascade.md``."""
    order: int = 3
    """Spline order for images: 3 (cubic) or 1 (linear)."""
    crop: bool = True
    """Crop to the bounding box of non-zero voxels first."""

    def __post_init__(self) -> None:
        if self.order not in (1, 3):
            raise ConfigError(f"resample.order: {self.order} must be 3 (cubic) or 1 (linear)")
        if self.spacing != "auto" and not min(self.spacing, default=0) > 0:
            raise ConfigError(
                f"resample.spacing: {list(self.spacing)} must be above 0 along every axis, or auto"
            )
        rules = {
            "spacing": self.spacing != "auto",
            "short_side": self.short_side,
            "size": self.size,
        }
        told = [f"resample.{name}" for name, given in rules.items() if given]
        if len(told) > 1:
            raise ConfigError(f"{' and '.join(told)} are two rules for one size; keep one")
        for name, sides in (("short_side", (self.short_side,)), ("size", self.size or ())):
            if any(side is not None and side < 1 for side in sides):
                raise ConfigError(f"resample.{name}: {list(sides)} must be 1 px or more")

    @property
    def resize(self) -> Resize | None:
        """The size that each photograph is brought to, where one is set."""
        if self.short_side is None and self.size is None:
            return None
        return Resize(short_side=self.short_side, size=self.size)

    def inputs_token(self) -> str:
        """Name the predictions that are read, as a part of the stage's key."""
        return "" if self.previous is None else previous_token(Path(self.previous))

    def run(self, dataset: Dataset, plan: Plan, context: Context) -> Resampled:
        """Write each case on its new grid, with the earlier run's prediction behind the image."""
        previous = self._previous(dataset, context)
        recipe = Recipe.of(plan)
        scheme = bare_scheme(dataset.scheme)
        cases = {row.case.id: row for row in dataset.cases}
        items = {
            name: {
                "case": bare_case(row.case),
                "digest": row.digest,
                "box": (row.content_start, row.content_stop),
                "scheme": scheme,
                "recipe": recipe,
            }
            for name, row in cases.items()
        }
        if previous is not None:
            items = {
                # a prediction stands in a folder named after its content
                name: {**items[name], "previous": file.parent.name}
                for name, file in previous.items()
            }
        channels = plan.in_channels
        memory = max(_bytes_needed(row, recipe, channels) for row in dataset.cases)
        results = context.map_cases(
            resample_case, items, shared={"predictions": previous or {}}, memory=memory
        )
        return Resampled(
            cases=tuple(
                ResampledCase(
                    id=name,
                    split=cases[name].split,
                    fold=cases[name].fold,
                    image=stored.image,
                    label=stored.label,
                    grid=stored.grid,
                    crop_start=stored.crop_start,
                    crop_stop=stored.crop_stop,
                    source=cases[name].grid,
                    annotated=annotated_indices(cases[name].case, dataset.scheme),
                )
                for name, stored in results.done.items()
            )
        )

    def _previous(self, dataset: Dataset, context: Context) -> dict[str, Path] | None:
        """Find the earlier run's prediction of each case; set aside those it has none of."""
        if self.previous is None:
            return None
        found = unseen_predictions(dataset, read_previous(Path(self.previous), context))
        for row in dataset.cases:
            if row.case.id not in found:
                context.set_aside(
                    row.case.id,
                    f"case {row.case.id}: {self.previous} (resample.previous) has no prediction "
                    "of it; see what that run says of the case",
                )
        return found


@dataclass(frozen=True, kw_only=True)
class StoredCase:
    """What `resample_case` wrote."""

    image: Path
    label: Path | None
    grid: Grid
    crop_start: tuple[int, ...]
    crop_stop: tuple[int, ...]


def resample_case(
    case: Case,
    digest: str,  # noqa: ARG001 - names the content of the files, so it is part of the key
    box: Box,
    scheme: LabelScheme,
    recipe: Recipe,
    previous: str | None = None,
    *,
    out: Path,
    predictions: Mapping[str, Path],
) -> StoredCase:
    """Write one case's image and annotation at the planned spacing.

    Parameters
    ----------
    case : Case
    digest : str
        Hash of the case's voxels, from ingest.
    box : pair of tuples of int
        Content box on the canonical grid.
    scheme : LabelScheme
    recipe : Recipe
    previous : str, optional
        Names the content of the case's file among ``predictions``.
    predictions : mapping of str to Path
        Case id to an earlier run's class indices on the canonical grid.
    out : Path
        Folder for ``image.b2nd`` and ``label.b2nd``.

    Raises
    ------
    CaseError
        If a file can no longer be read.
    """
    from medseg.geometry.resample import resample_label
    from medseg.io.load import load_image, load_label
    from medseg.io.store import open_array, write_array

    image = load_image(case)
    done = preprocess(image.volume, recipe, box)
    if previous is not None:
        pred = open_array(predictions[case.id]).read_all()
        done = add_previous(done, pred, len(scheme.labels), coarse_axis=recipe.coarse_axis)
    label_file = None
    if case.label:
        label = load_label(case, scheme, image)
        inside = tuple(slice(a, b) for a, b in zip(done.crop_start, done.crop_stop, strict=True))
        resampled = resample_label(label[inside], done.grid.shape, coarse_axis=recipe.coarse_axis)
        label_file = write_array(out / "label.b2nd", resampled)
    return StoredCase(
        image=write_array(out / "image.b2nd", np.ascontiguousarray(done.image)),
        label=label_file,
        grid=done.grid,
        crop_start=done.crop_start,
        crop_stop=done.crop_stop,
    )


def annotated_indices(case: Case, scheme: LabelScheme) -> tuple[int, ...]:
    """Return the class indices that a case's annotation covers; none without annotation."""
    if not case.label:
        return ()
    return tuple(
        index
        for index, row in enumerate(scheme.labels, start=1)
        if case.annotated is None or row.name in case.annotated
    )


def _bytes_needed(row: IngestedCase, recipe: Recipe, channels: int) -> int:
    """Estimate the memory of one case: source and result as float32, each with two copies."""
    from medseg.geometry.resample import resampled_grid

    grid = row.grid
    after = prod(resampled_grid(grid, recipe.spacing_for(grid)).shape)
    return 4 * 3 * channels * (prod(grid.shape) + after)
