from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.pipelines.predict_inputs import find_cases
from tests.io.dicom_series import write_series


@pytest.fixture
def scans(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz", "p_flair.nii.gz", "p_t1.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def ids(found):
    return [(case.id, [f.path.name for f in case.image]) for case in found[0]]


def test_several_files_are_cases_in_name_order(scans):
    found = find_cases([scans / "b.nii.gz", scans / "a.nii.gz"], ["image"], 3)
    assert ids(found) == [("a", ["a.nii.gz"]), ("b", ["b.nii.gz"])]


def test_several_files_are_grouped_by_channel(scans):
    files = [scans / "p_t1.nii.gz", scans / "p_flair.nii.gz"]
    assert ids(find_cases(files, ["flair", "t1"], 3)) == [("p", ["p_flair.nii.gz", "p_t1.nii.gz"])]


def test_a_text_list_names_paths_beside_it(scans):
    (scans / "list.txt").write_text("# mine\nb.nii.gz\n\na.nii.gz\n")
    assert [name for name, _ in ids(find_cases(scans / "list.txt", ["image"], 3))] == ["a", "b"]


def test_a_table_names_cases_and_channels(scans):
    (scans / "list.csv").write_text("case,image\nx,b.nii.gz\n,a.nii.gz\n")
    assert ids(find_cases(scans / "list.csv", ["image"], 3)) == [
        ("a", ["a.nii.gz"]),
        ("x", ["b.nii.gz"]),
    ]
    (scans / "two.csv").write_text("t1,flair\np_t1.nii.gz,p_flair.nii.gz\n")
    found = find_cases(scans / "two.csv", ["flair", "t1"], 3)
    assert ids(found) == [("p_flair", ["p_flair.nii.gz", "p_t1.nii.gz"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.nii.gz\n", "no column flair, t1; give a column 'image'"),
        ("flair,t1\na.nii.gz,\n", "line 2: a path is missing"),
        ("image\nzzz.nii.gz\n", r"line 2: .*zzz\.nii\.gz is not there"),
        ("image\n", "lists nothing"),
    ],
)
def test_a_wrong_table_is_refused(scans, text, message):
    (scans / "list.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_cases(scans / "list.csv", ["flair", "t1"], 3)


def test_a_wrong_list_is_refused(scans):
    (scans / "list.txt").write_text("zzz.nii.gz\n")
    with pytest.raises(ConfigError, match=r"zzz\.nii\.gz: no such file"):
        find_cases(scans / "list.txt", ["image"], 3)
    (scans / "list.txt").write_text("# nothing\n")
    with pytest.raises(ConfigError, match="lists nothing"):
        find_cases(scans / "list.txt", ["image"], 3)
    with pytest.raises(ConfigError, match="both be written as 'a'"):
        find_cases([scans / "a.nii.gz", scans / "a.nii.gz"], ["image"], 3)


def write_series_tree(root):
    """Write three series, two of which have the same end of their UID and one folder."""
    data = np.zeros((4, 5, 3), np.int16)
    write_series(root / "a", data, series="1.2.3")
    write_series(root / "b", data, series="1.4.9", names=["x0", "x1", "x2"])
    write_series(root / "b", data, series="1.5.9", names=["y0", "y1", "y2"])


def test_a_series_with_a_damaged_file_is_set_aside(tmp_path):
    write_series_tree(tmp_path)
    (tmp_path / "b/x1").write_bytes(b"")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/1.dcm").write_bytes(b"DICM")
    cases, aside = find_cases(tmp_path, ["image"], 3)
    assert [(case.id, case.image[0].series) for case in cases] == [
        ("a", "1.2.3"),
        ("b_1.5.9", "1.5.9"),
    ]
    assert [row.case for row in aside] == ["b_1.4.9", "c"]
    assert "b/x1: named like a slice but has no DICOM preamble" in aside[0].reason


def test_a_folder_in_which_nothing_is_whole_is_an_error(tmp_path):
    write_series(tmp_path / "a", np.zeros((4, 5, 3), np.int16))
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ConfigError, match=r"so nothing was written: case a: .*slice_0.*copy the f"):
        find_cases(tmp_path, ["image"], 3)
