"""What the objects that are made with pydicom alone have in common."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from medseg.dicom_out.equipment import NAME, SERIES_NUMBER, Algorithm
from medseg.dicom_out.source import IDENTITY, SourceSeries


def new_object(
    source: SourceSeries, sop_class: str, modality: str, what: str, algorithm: Algorithm
) -> Dataset:
    """Begin an object of a new series in the source's study.

    Parameters
    ----------
    source : SourceSeries
    sop_class : str
        SOP class UID.
    modality : str
        A key of `medseg.dicom_out.equipment.SERIES_NUMBER`.
    what : str
        What the series is, for its description.
    algorithm : Algorithm
    """
    now = datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword in IDENTITY:
        setattr(dataset, keyword, source.first.get(keyword))
    source.name_patient(dataset)
    dataset.StudyInstanceUID = source.first.StudyInstanceUID
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesNumber = modality, SERIES_NUMBER[modality]
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = algorithm.describe(what)
    dataset.Manufacturer = dataset.ManufacturerModelName = NAME
    dataset.SoftwareVersions = dataset.DeviceSerialNumber = algorithm.version
    dataset.InstanceCreationDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = now.strftime("%H%M%S")
    return dataset


def reference(header: Dataset) -> Dataset:
    """Refer to an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item
