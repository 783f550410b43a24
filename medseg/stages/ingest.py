"""Ingest: read every case, say what is wrong with it, divide the rest, take the fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from medseg.artefacts import Dataset
from medseg.manifest import Manifest
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Read and validate the cases of a manifest; no voxel is copied."""

    writes: ClassVar[str] = "dataset"
    manifest: Manifest
    seed: int = 0

    def run(self, context: Context) -> Dataset:
        """Return all sound cases; the others are set aside with their reason."""
        raise NotImplementedError
