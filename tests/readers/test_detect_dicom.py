from __future__ import annotations

import numpy as np
import pytest

from medseg.readers.detect_dicom import detect_dicom
from tests.io.dicom_objects import slices_of, write_rtstruct, write_seg


def seg(files, series, place):
    frames = [(1, 0, np.ones((6, 5), bool))]
    write_seg(files.root / place, slices_of(files.root / series), frames, [(1, "Liver", "1")])


@pytest.mark.parametrize(
    ("scan", "place", "expected"),
    [
        ("scans/{}", "labels/{}.dcm", {"images": "scans/*", "label_dir": "labels"}),
        ("{}/CT", "{}/objects/x.dcm", {"images": "*/CT", "label_dir": "{case}/objects"}),
        ("{}", "{}/x.dcm", {"images": "*", "label_dir": "{case}"}),
    ],
)
def test_seg_is_found_wherever_it_lies(files, scan, place, expected):
    for name in ("p1", "p2"):
        files.series(scan.format(name))
        seg(files, scan.format(name), place.format(name))
    layout = detect_dicom(files.root)
    assert layout.structures == ("Liver",)
    assert layout.options == expected


def test_structure_sets_name_their_structures(files):
    files.series("p1/CT", "p2/CT")
    for name in ("p1", "p2"):
        write_rtstruct(files.root / name / "rt/x.dcm", [(1, "Heart", []), (2, "Lung_L", [])])
    layout = detect_dicom(files.root)
    assert layout.structures == ("Heart", "Lung_L")
    assert layout.options == {"images": "*/CT", "label_dir": "{case}/rt"}


def test_damaged_files_of_some_cases_do_not_end_the_search(files):
    for name in ("p1", "p2", "p3"):
        files.series(f"{name}/CT")
        seg(files, f"{name}/CT", f"{name}/objects/x.dcm")
    for path in (sorted((files.root / "p1/CT").iterdir())[1], files.root / "p2/objects/x.dcm"):
        path.write_bytes(path.read_bytes()[:600])
    layout = detect_dicom(files.root)
    assert (layout.structures, layout.modality) == (("Liver",), "CT")
    assert layout.options == {"images": "*/CT", "label_dir": "{case}/objects"}
