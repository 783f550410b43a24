"""Structured report of measurements: TID 1500 in a Comprehensive 3D SR.

One volumetric ROI group (TID 1411) for each segment of the SEG; a structure that was looked for
and not found has a group without a region (TID 1501) that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from medseg.dicom_out.codes import code_structure
from medseg.dicom_out.equipment import NAME, SERIES_NUMBER, Algorithm, require_highdicom
from medseg.dicom_out.measure import ABSENT, PRIVATE, QUALITY, SegmentMeasures
from medseg.dicom_out.seg import contribution
from medseg.dicom_out.source import SourceSeries
from medseg.errors import FormatError
from medseg.labels import Structure

ML = Code("mL", "UCUM", "milliliter")
MM = Code("mm", "UCUM", "millimeter")
HU = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNIT = Code("1", "UCUM", "no units")
AXIAL = Code("AXIAL", PRIVATE, "Largest within one axial slice")

PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MR unspecified body region"),
    "PT": Code("44139-4", "LN", "PET unspecified body region"),
}
ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


def make_report(
    source: SourceSeries,
    seg: Dataset | None,
    measures: Sequence[SegmentMeasures],
    absent: Sequence[Structure],
    algorithm: Algorithm,
) -> Dataset:
    """Make the measurement report of a Segmentation.

    Parameters
    ----------
    source : SourceSeries
    seg : Dataset or None
        What `medseg.dicom_out.seg.make_seg` made of the same segments; None where there are none.
    measures : sequence of SegmentMeasures
    absent : sequence of Structure
        Structures that were looked for and not found.
    algorithm : Algorithm

    Returns
    -------
    pydicom Dataset

    Raises
    ------
    FormatError
        If the series' header does not hold what the object must repeat.
    MissingExtraError
        If highdicom is not installed.
    """
    highdicom = require_highdicom()
    try:
        writer = _Writer(highdicom, source, seg, algorithm)
        content = highdicom.sr.MeasurementReport(
            observation_context=writer.observer(),
            procedure_reported=PROCEDURES.get(source.first.get("Modality", ""), ANY_PROCEDURE),
            imaging_measurements=[
                *(writer.group(one) for one in measures),
                *(writer.missing(one) for one in absent),
            ],
            language_of_content_item_and_descendants=(
                highdicom.sr.LanguageOfContentItemAndDescendants(
                    Code("en-US", "RFC5646", "English (United States)")
                )
            ),
        )
        report: Dataset = highdicom.sr.Comprehensive3DSR(
            evidence=[*source.headers, *([] if seg is None else [seg])],
            content=content[0],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER["SR"],
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=NAME,
            software_versions=algorithm.version,
            device_serial_number=algorithm.version,
            is_complete=True,
            series_description=algorithm.describe("measurements"),
            specific_character_set="ISO_IR 192",
            contributing_equipment=[contribution(highdicom, algorithm)],
            coding_schemes=[
                highdicom.coding_schemes.CodingSchemeIdentificationItem(
                    designator=PRIVATE, name="medseg quality flags and methods"
                )
            ],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{source.path}: no DICOM SR can be made from this series ({error})",
            "check the series' headers, or predict it without --dicom-sr",
        ) from error
    source.name_patient(report)
    return report


class _Writer:
    """Content items of one report."""

    def __init__(
        self, highdicom: Any, source: SourceSeries, seg: Dataset | None, algorithm: Algorithm
    ) -> None:
        self.sr, self.source, self.seg, self.algorithm = highdicom.sr, source, seg, algorithm

    def observer(self) -> Any:
        """Say that a device observed, and which."""
        device = self.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[NAME, self.algorithm.version]),
            name=NAME,
            manufacturer_name=NAME,
            model_name=self.algorithm.model[:64],
            serial_number=self.algorithm.version,
        )
        return self.sr.ObservationContext(
            observer_device_context=self.sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        )

    def group(self, one: SegmentMeasures) -> Any:
        """Report one segment."""
        segment, code = one.segment, one.segment.code
        return self.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self.sr.TrackingIdentifier(
                uid=segment.tracking_uid, identifier=segment.tracking_id
            ),
            referenced_segment=self._segment(segment.number),
            finding_category=code.category,
            finding_type=code.type,
            finding_sites=self._sites(code.region or code.type, code.side) if code.known else None,
            algorithm_id=self._algorithm(),
            measurements=self._measurements(one),
            qualitative_evaluations=[
                self.sr.QualitativeEvaluation(name=QUALITY, value=flag) for flag in one.flags
            ],
        )

    def missing(self, structure: Structure) -> Any:
        """Report a structure that was not found."""
        code = code_structure(structure.name, structure.snomed)
        return self.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self.sr.TrackingIdentifier(
                uid=generate_uid(), identifier=f"medseg {structure.name}"[:64]
            ),
            finding_category=code.category,
            finding_type=code.type,
            finding_sites=self._sites(code.region or code.type, code.side) if code.known else None,
            algorithm_id=self._algorithm(),
            qualitative_evaluations=[self.sr.QualitativeEvaluation(name=QUALITY, value=ABSENT)],
        )

    def _segment(self, number: int) -> Any:
        """Refer to a whole segment and to the series it was drawn on."""
        if self.seg is None:
            raise ValueError("there are measurements of segments, and no SEG that holds them")
        return self.sr.ReferencedSegment(
            sop_class_uid=self.seg.SOPClassUID,
            sop_instance_uid=self.seg.SOPInstanceUID,
            segment_number=number,
            source_series=self.sr.SourceSeriesForSegmentation(self.source.first.SeriesInstanceUID),
        )

    def _sites(self, place: Code, side: Code | None) -> list[Any]:
        return [self.sr.FindingSite(anatomic_location=place, laterality=side)]

    def _algorithm(self) -> Any:
        parameters = [f"{key}: {value}" for key, value in self.algorithm.parameters.items()]
        return self.sr.AlgorithmIdentification(
            name=NAME, version=self.algorithm.version, parameters=parameters
        )

    def _measurements(self, one: SegmentMeasures) -> list[Any]:
        """List volume, diameters and intensities; TID 1411 has no place for a diameter's ends."""
        measurement, sct = self.sr.Measurement, codes.SCT
        intensity, unit = self._intensity()
        return [
            measurement(name=sct.Volume, value=_rounded(one.volume_ml), unit=ML),
            measurement(
                name=codes.IBSI.Maximum3DDiameterOfAMesh,
                value=_rounded(one.diameter.length_mm),
                unit=MM,
            ),
            measurement(
                name=sct.Diameter,
                value=_rounded(one.axial_diameter.length_mm),
                unit=MM,
                derivation=sct.Maximum,
                method=AXIAL,
            ),
            measurement(name=intensity, value=_rounded(one.mean), unit=unit, derivation=sct.Mean),
            measurement(
                name=intensity,
                value=_rounded(one.sd),
                unit=unit,
                derivation=sct.StandardDeviation,
            ),
        ]

    def _intensity(self) -> tuple[Code, Code]:
        """Name what the voxels of this modality measure, and the unit."""
        modality = self.source.first.get("Modality", "")
        if modality == "CT" and self.source.first.get("RescaleType", "HU") == "HU":
            return codes.DCM.AttenuationCoefficient, HU
        if modality == "MR":
            return codes.DCM.MRSignalIntensity, NO_UNIT
        return Code("INTENSITY", PRIVATE, "Stored intensity, rescaled"), NO_UNIT


def _rounded(value: float) -> float:
    """Keep four decimals, more than any of the figures is exact to."""
    return round(value, 4)
