"""A small oblique CT series with structures whose every voxel is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from medseg.dicom_out import Algorithm, Findings, read_source
from medseg.geometry.orientation import to_closest_ras
from medseg.geometry.volume import Volume
from medseg.io.dicom import choose_series, read_series
from medseg.labels import Label, LabelScheme
from medseg.phantom.dicom_files import write_dicom_series

ALGORITHM = Algorithm(model="unet", data="phantom", synthetic=True)
SCHEME = LabelScheme(
    labels=(
        Label(value=1, name="liver", color="#ff0000"),
        Label(value=2, name="liver tumour"),
        Label(value=9, name="kidney_left"),
        Label(value=4, name="spleen"),
    )
)


def oblique_affine():
    """Turned about two axes, spacing 0.8 x 0.9 x 2.5 mm, first axes as DICOM stores them."""
    a, b = 0.3, 0.2
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-0.8, -0.9, 2.5])
    affine[:3, 3] = (40, 30, -20)
    return affine


def stored_indices(shape=(14, 12, 7)):
    """Liver with a tumour in it, a kidney at the lower end, and no spleen."""
    indices = np.zeros(shape, np.int16)
    indices[2:9, 2:8, 2:6] = 1
    indices[4:6, 4:6, 3:5] = 2
    indices[10:13, 3:6, 0:2] = 3
    return indices


@dataclass(frozen=True)
class Series:
    folder: Path
    findings: Findings
    stored: np.ndarray
    """Class indices on the stored grid."""


def make_series(folder, indices=None, scheme=SCHEME, affine=None):
    """Write the series and read it as `medseg predict` does."""
    indices = stored_indices() if indices is None else indices
    affine = oblique_affine() if affine is None else affine
    values = np.random.default_rng(0).integers(-100, 200, (1, *indices.shape)).astype(np.int16)
    write_dicom_series(folder, Volume(data=values, affine=affine), patient="Doe^Jane")
    return segmented(folder, indices, scheme)


def segmented(folder, indices, scheme=SCHEME):
    """Take class indices on a series' stored grid as its segmentation."""
    files = choose_series(folder, None).files
    read = read_series(files)
    source = read_source(folder, files, read.slice_of_file, read.volume.grid)
    canonical = to_closest_ras(Volume(data=indices[np.newaxis], affine=read.volume.affine))
    findings = Findings(
        source=source,
        image=to_closest_ras(read.volume),
        indices=np.ascontiguousarray(canonical.data[0]),
        scheme=scheme,
    )
    return Series(folder, findings, indices)


def edit_headers(folder, change):
    """Apply ``change(dataset, number)`` to every file of a folder."""
    for number, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        change(dataset, number)
        dataset.save_as(path)


def world_points(mask, affine):
    """Return the RAS+ places of a mask's voxels."""
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def check_points(points, mask, affine):
    """Assert that RAS+ places are the voxel centres of a mask, each once."""
    to_index = np.linalg.inv(affine)
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    np.testing.assert_allclose(index, np.round(index), atol=0.01)
    found = np.zeros(mask.shape, int)
    np.add.at(found, tuple(np.round(index).astype(int).T), 1)
    assert np.array_equal(found, mask.astype(int))


def frames_of(dataset, number):
    """Return the frames of a segment; where there is one segment, it may be named for all."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    found = []
    for k, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group = own if "SegmentIdentificationSequence" in own else shared
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            found.append(k)
    return found


def frame_points(dataset, frames, k):
    """Return the RAS+ places of the set pixels of frame ``k``, by the frame's own position."""
    shared, own = dataset.SharedFunctionalGroupsSequence[0], dataset
    own = dataset.PerFrameFunctionalGroupsSequence[k]
    place = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = shared.PixelMeasuresSequence[0].PixelSpacing
    row, column = np.nonzero(frames[k])
    lps = place + np.outer(column * columns, turn[:3]) + np.outer(row * rows, turn[3:])
    return lps * [-1, -1, 1]
