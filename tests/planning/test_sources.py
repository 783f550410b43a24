from __future__ import annotations

import os

from medseg.case import Case, ImageFile, LabelPart
from medseg.planning.sources import source_files


def case(image, label=()):
    return Case(
        id="a", image=(ImageFile(path=image),), label=tuple(LabelPart(path=p) for p in label)
    )


def test_files_and_all_files_of_folders(tmp_path):
    (tmp_path / "series" / "deep").mkdir(parents=True)
    for name in ("series/2", "series/10", "series/deep/x", "label.nii"):
        (tmp_path / name).write_text("12345")
    files = source_files([case(tmp_path / "series", [tmp_path / "label.nii"])])["a"]
    names = [os.path.relpath(file.path, tmp_path) for file in files]
    assert names == ["series/10", "series/2", "series/deep/x", "label.nii"]
    assert {file.size for file in files} == {5}


def test_a_touched_file_is_noticed(tmp_path):
    path = tmp_path / "a.nii"
    path.write_text("1")
    before = source_files([case(path)])
    os.utime(path, ns=(1, 1))
    assert source_files([case(path)]) != before


def test_a_missing_file_has_no_size(tmp_path):
    assert source_files([case(tmp_path / "gone")])["a"][0].size == -1
