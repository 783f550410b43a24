"""A report's PDF as a DICOM object, so that the archive keeps it with the study."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from medseg.dicom_out.equipment import Algorithm
from medseg.dicom_out.plain import new_object, reference
from medseg.dicom_out.source import SourceSeries
from medseg.errors import FormatError


def make_pdf(source: SourceSeries, pdf: bytes, algorithm: Algorithm) -> Dataset:
    """Wrap a PDF.

    Parameters
    ----------
    source : SourceSeries
        The series it reports on; every slice is referenced.
    pdf : bytes
        The whole file.
    algorithm : Algorithm

    Raises
    ------
    FormatError
        If the bytes are no PDF.
    """
    if not pdf.startswith(b"%PDF-"):
        raise FormatError("the report is no PDF", "give the bytes of a whole PDF file")
    dataset = new_object(source, EncapsulatedPDFStorage, "DOC", "report", algorithm)
    dataset.ContentDate = dataset.InstanceCreationDate
    dataset.ContentTime = dataset.InstanceCreationTime
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"  # the page may name the case
    dataset.ConversionType = "WSD"
    dataset.DocumentTitle = algorithm.describe("report")
    dataset.ConceptNameCodeSequence = [_title()]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [reference(header) for header in source.headers]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return dataset


def _title() -> Dataset:
    """Return the document's kind, LOINC 18748-4."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "18748-4", "LN"
    item.CodeMeaning = "Diagnostic imaging report"
    return item
