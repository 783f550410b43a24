"""A manifest describes a data set: where it is, how it is read, what its labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.identifiers import Identifiers
from medseg.labels import Label, LabelScheme, Region


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One image channel."""

    name: str
    normalization: str = "auto"
    """``ct``, ``zscore``, ``none`` or ``auto`` (``ct`` for modality CT, else ``zscore``)."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """How cases are divided, where the data set itself does not say it."""

    test: float | tuple[str, ...] = 0.2
    """Share of the annotated cases held out for the test, or the test cases' ids."""
    folds: int = 5
    """Folds over the remaining cases: stratified by label presence, grouped by patient."""
    seed: int = 0
    file: Path | None = None
    """JSON or CSV that lists case, split and fold; overrides the rest."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A described data set, with ``root`` resolved to a folder that exists (or is generated)."""

    name: str
    reader: str
    root: Path
    labels: tuple[Label, ...]
    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the reader."""
    modality: str = "unknown"
    """DICOM modality: CT, MR, ... ; ``photo`` for photographs."""
    channels: tuple[Channel, ...] = (Channel(name="image"),)
    regions: tuple[Region, ...] = ()
    ignore_value: int | None = None
    label_map: Mapping[str, str] | None = None
    """What values, colours or names in annotation files mean; see `LabelScheme.label_map`."""
    splits: Splits = Splits()
    mirror_axes: tuple[int, ...] | None = None
    """Canonical axes (0 left-right, 1 front-back, 2 feet-head) that may be mirrored; None: auto."""
    exclude: tuple[str, ...] = ()
    licence: str = "unknown"
    citation: str = ""
    url: str = ""
    synthetic: bool = False
    """True for generated data: every report and MLflow say SYNTHETIC."""
    source: Path | None = None
    """The manifest file, for messages."""
    identifiers: Identifiers = "keep"
    """What becomes of patients' ids; a config sets it by ``report.identifiers``, ``drop``
    where that is not given."""

    @property
    def scheme(self) -> LabelScheme:
        """The label table as the rest of medseg uses it."""
        return LabelScheme(
            labels=self.labels,
            regions=self.regions,
            ignore_value=self.ignore_value,
            label_map=self.label_map,
        )
