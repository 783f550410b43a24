"""Ingest: read every case, say what is wrong with it, divide the rest, take the fingerprint."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medseg.artefacts import DataInfo, Dataset, IngestedCase
from medseg.case import Case, Split
from medseg.errors import StageError
from medseg.labels import Label, LabelScheme
from medseg.manifest import Manifest
from medseg.planning.duplicates import find_duplicates, merge_groups
from medseg.planning.normalization import check_schemes
from medseg.planning.sources import source_files, stat_file
from medseg.planning.splits import SplitCase, assign_splits, check_ids
from medseg.stages.context import Context

if TYPE_CHECKING:
    from medseg.planning.examine import Examined

logger = logging.getLogger(__name__)

INFLATION = 10
"""Bytes in memory per byte of a compressed file: int16 at 2:1, held as float32 and copied."""


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Read and validate the cases of a manifest; no voxel is copied."""

    writes: ClassVar[str] = "dataset"
    manifest: Manifest

    def run(self, context: Context) -> Dataset:
        """Return all sound cases; the others are set aside with their reason.

        Raises
        ------
        ManifestError
            If the manifest contradicts itself or what is on disk, or the sound cases cannot be
            divided into training and validation.
        StageError
            If no case is sound, or no training case has foreground.
        """
        from medseg.planning.fingerprint import take_fingerprint

        manifest = self.manifest
        channels = tuple(channel.name for channel in manifest.channels)
        schemes = tuple(channel.normalization for channel in manifest.channels)
        check_schemes(schemes, channels)
        cases = {case.id: case for case in list_cases(manifest)}
        check_ids(manifest.splits, cases.keys(), str(manifest.source or manifest.name))
        examined = _same_dimension(_examine(manifest, cases, channels, context), context)
        duplicates = find_duplicates({name: row.image_digest for name, row in examined.items()})
        places = _divide(manifest, cases, examined, duplicates)
        ingested = tuple(
            _ingested(cases[name], row, places[name], _twins(name, duplicates))
            for name, row in examined.items()
        )
        fingerprint = take_fingerprint(
            [examined[c.case.id] for c in ingested if c.split == "train"]
        )
        if not fingerprint.intensities:
            raise StageError(
                "no training case has an annotated voxel, so there is nothing to learn; check the "
                f"label table and the label files of {manifest.source or manifest.name}"
            )
        for case in ingested:
            for warning in case.warnings:
                logger.warning("case %s: %s", case.case.id, warning)
        return Dataset(
            info=_info(manifest, channels, ingested),
            scheme=manifest.scheme,
            cases=ingested,
            fingerprint=fingerprint,
            mirror_axes=manifest.mirror_axes,
            normalization=schemes,
        )

    def inputs_token(self) -> list[list[str | int]]:
        """List path, size and modification time of every source file; part of the stage's key."""
        listed = source_files(list_cases(self.manifest))
        files = {file for rows in listed.values() for file in rows}
        if self.manifest.splits.file is not None:
            files.add(stat_file(self.manifest.splits.file))
        return [[f.path, f.size, f.mtime_ns] for f in sorted(files, key=lambda f: f.path)]


def list_cases(manifest: Manifest) -> list[Case]:
    """Let the manifest's reader list its cases; voxels stay on disk.

    Raises
    ------
    ConfigError
        If there is no such reader, or it has no such option.
    ManifestError
        If the reader does not find what it looks for.
    """
    from medseg.readers import read_cases

    return read_cases(manifest)


def bare_case(case: Case) -> Case:
    """Keep only what decides a case's voxels, so that other changes recompute nothing."""
    return Case(id=case.id, image=case.image, label=case.label, annotated=case.annotated)


def bare_scheme(scheme: LabelScheme) -> LabelScheme:
    """Keep only names and values of the label table: colours and tolerances decide no voxel."""
    return LabelScheme(
        labels=tuple(Label(value=row.value, name=row.name) for row in scheme.labels),
        ignore_value=scheme.ignore_value,
        label_map=scheme.label_map,
    )


def _examine(
    manifest: Manifest, cases: Mapping[str, Case], channels: tuple[str, ...], context: Context
) -> dict[str, Examined]:
    """Read all cases, in parallel."""
    from medseg.planning.examine import examine_case

    sources = source_files(cases.values())
    items: dict[str, Mapping[str, Any]] = {
        name: {
            "case": bare_case(case),
            "scheme": bare_scheme(manifest.scheme),
            "channels": channels,
            "sources": sources[name],
        }
        for name, case in cases.items()
    }
    largest = max(sum(max(f.size, 0) for f in files) for files in sources.values())
    results = context.map_cases(examine_case, items, memory=INFLATION * largest)
    return dict(results.done)


def _same_dimension(examined: Mapping[str, Examined], context: Context) -> dict[str, Examined]:
    """Set aside cases of another dimension than most."""
    usual = Counter(row.grid.ndim for row in examined.values()).most_common(1)[0][0]
    for name, row in examined.items():
        if row.grid.ndim != usual:
            context.set_aside(
                name,
                f"case {name}: the image is {row.grid.ndim}-D, most are {usual}-D; describe the "
                "two kinds in two manifests, or list the case under 'exclude'",
            )
    return {name: row for name, row in examined.items() if row.grid.ndim == usual}


def _divide(
    manifest: Manifest,
    cases: Mapping[str, Case],
    examined: Mapping[str, Examined],
    duplicates: tuple[tuple[str, ...], ...],
) -> dict[str, tuple[Split, int | None]]:
    """Assign splits and folds; duplicates stay together."""
    groups = merge_groups({name: cases[name].group for name in examined}, duplicates)
    rows = [
        SplitCase(
            id=name,
            group=groups[name],
            split=cases[name].split,
            fold=cases[name].fold,
            labels=tuple(n for n, count in row.label_voxels.items() if count)
            if cases[name].label
            else None,
        )
        for name, row in examined.items()
    ]
    return assign_splits(rows, manifest.splits)


def _twins(name: str, duplicates: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the other cases that hold the same image."""
    return tuple(other for names in duplicates if name in names for other in names if other != name)


def _ingested(
    case: Case, row: Examined, place: tuple[Split, int | None], twins: Sequence[str]
) -> IngestedCase:
    """Join what is known of a case."""
    warnings = row.warnings
    if twins:
        warnings += (
            f"the image has the same voxels as {', '.join(twins)}; exclude all but one of them",
        )
    return IngestedCase(
        case=case,
        split=place[0],
        fold=place[1],
        grid=row.grid,
        orientation=row.orientation,
        content_start=row.content_start,
        content_stop=row.content_stop,
        label_voxels=row.label_voxels,
        digest=row.digest,
        warnings=warnings,
    )


def _info(manifest: Manifest, channels: tuple[str, ...], cases: Sequence[IngestedCase]) -> DataInfo:
    """Say where the data comes from."""
    text = "\n".join(sorted(f"{case.case.id} {case.digest}" for case in cases))
    return DataInfo(
        name=manifest.name,
        title=manifest.title or manifest.name,
        modality=manifest.modality,
        channels=channels,
        origin="SYNTHETIC" if manifest.synthetic else "real",
        licence=manifest.licence,
        citation=manifest.citation,
        digest=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
    )
