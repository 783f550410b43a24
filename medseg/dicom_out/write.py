"""Write the DICOM objects of one case, all of them or none."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.dicom_out.capture import make_capture
from medseg.dicom_out.document import make_pdf
from medseg.dicom_out.equipment import Algorithm, require_highdicom
from medseg.dicom_out.measure import measure_segments
from medseg.dicom_out.report import make_report
from medseg.dicom_out.rtstruct import make_rtstruct
from medseg.dicom_out.seg import make_seg
from medseg.dicom_out.segments import list_segments
from medseg.dicom_out.source import SourceSeries
from medseg.geometry.orientation import reorient_to
from medseg.geometry.volume import Volume
from medseg.labels import LabelScheme

logger = logging.getLogger(__name__)

Indices = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which objects are to be written."""

    seg: bool = False
    labelmap: bool = False
    """Store the SEG as a label map (implies ``seg``); overlapping regions become labels."""
    sr: bool = False
    """Implies ``seg``, which the report refers to."""
    rtstruct: bool = False
    pdf: bool = False
    """The page of the report; `write_dicom` is given its PDF."""
    capture: bool = False
    """Pictures with contours, volumes and a legend burned in, for viewers that know no SEG."""

    def check(self) -> None:
        """Raise MissingExtraError now if what is needed is not installed."""
        if self.seg or self.labelmap or self.sr:
            require_highdicom()

    def names(self, case: str) -> tuple[str, ...]:
        """Name the files of a case."""
        kinds = {
            "seg": self.seg or self.labelmap or self.sr,
            "sr": self.sr,
            "rtstruct": self.rtstruct,
            "capture": self.capture,
            "report": self.pdf,
        }
        return tuple(f"{case}_{kind}.dcm" for kind, wanted in kinds.items() if wanted)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A segmented series."""

    source: SourceSeries
    image: Volume
    """On the canonical grid."""
    indices: Indices
    """Class indices on the canonical grid."""
    scheme: LabelScheme


def write_dicom(
    folder: Path,
    case: str,
    findings: Findings,
    algorithm: Algorithm,
    wanted: Wanted,
    *,
    pdf: bytes | None = None,
) -> tuple[Path, ...]:
    """Write the objects of one case beside each other.

    Parameters
    ----------
    folder : Path
        Made where it does not exist. Files of the same names are replaced.
    case : str
        Begins the files' names.
    findings : Findings
    algorithm : Algorithm
    wanted : Wanted
    pdf : bytes, optional
        A report to be kept with the study.

    Returns
    -------
    tuple of Path
        ``<case>_seg.dcm`` and so on. Where nothing was found there is no SEG and no structure set,
        since viewers stumble over empty ones; the SR says what was not found.

    Raises
    ------
    FormatError
        If an object cannot be made from the series' headers; nothing has been written.
    MissingExtraError
        If highdicom is needed and not installed.
    """
    objects = make_objects(findings, algorithm, wanted)
    if pdf is not None:
        objects["report"] = make_pdf(findings.source, pdf, algorithm)
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(mkdtemp(prefix=".dicom_", dir=folder))
    try:
        for kind, dataset in objects.items():
            dataset.save_as(aside / f"{case}_{kind}.dcm", enforce_file_format=True)
        written = []
        for path in sorted(aside.iterdir()):
            written.append(path.replace(folder / path.name))
    finally:
        shutil.rmtree(aside)
    return tuple(written)


def make_objects(findings: Findings, algorithm: Algorithm, wanted: Wanted) -> dict[str, Dataset]:
    """Make the wanted objects of one case, by kind."""
    wanted.check()
    source, indices = findings.source, findings.indices
    segments = list_segments(indices, findings.scheme, overlap=not wanted.labelmap)
    canonical = Volume(data=indices[np.newaxis], affine=findings.image.affine)
    stored = reorient_to(canonical, source.grid).data[0]
    objects: dict[str, Dataset] = {}
    if not segments.found:
        logger.warning("%s: nothing was found, so there is no segment to write", source.path)
    if segments.found and (wanted.seg or wanted.labelmap or wanted.sr):
        seg = make_seg(source, stored, segments.found, algorithm, labelmap=wanted.labelmap)
        objects["seg"] = seg
    if wanted.sr:
        measures = measure_segments(findings.image, indices, segments.found)
        objects["sr"] = make_report(
            source, objects.get("seg"), measures, segments.absent, algorithm
        )
    if wanted.rtstruct and segments.found:
        objects["rtstruct"] = make_rtstruct(source, stored, segments.found, algorithm)
    if wanted.capture and segments.found:
        voxels = reorient_to(findings.image, source.grid).data[0]
        objects["capture"] = make_capture(source, voxels, stored, segments.found, algorithm)
    return objects
