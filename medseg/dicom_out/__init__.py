"""DICOM objects of a segmentation: SEG, structured report, PDF and structure set."""

from __future__ import annotations

from medseg.dicom_out.equipment import Algorithm
from medseg.dicom_out.source import SourceSeries, read_source
from medseg.dicom_out.write import Findings, Wanted, write_dicom

__all__ = ["Algorithm", "Findings", "SourceSeries", "Wanted", "read_source", "write_dicom"]
