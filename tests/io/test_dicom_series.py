"""Damaged files in a listing: they name what they damage and leave the rest alone."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import FormatError
from medseg.io.dicom_series import choose_series, list_objects, list_series
from medseg.io.volumes import read_volume
from tests.io.dicom_series import write_series


@pytest.fixture
def folder(tmp_path):
    """Two series side by side whose files are called differently."""
    data = np.random.default_rng(0).integers(-9, 9, (4, 5, 3)).astype(np.int16)
    for uid, word in (("1.2.3", "CT"), ("1.2.4", "PT")):
        names = [f"{word}{k}" for k in range(3)]
        write_series(tmp_path / "both", data, series=uid, names=names)
    return tmp_path / "both"


def cut(path):
    path.write_bytes(path.read_bytes()[:600])


def garbage(path):
    whole = bytearray(path.read_bytes())
    noise = np.random.default_rng(1).integers(0, 256, len(whole) - 140, dtype=np.uint8)
    whole[140:] = noise.tobytes()
    path.write_bytes(whole)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of the bytes that it meets
@pytest.mark.parametrize("spoil", [cut, garbage, empty])
def test_a_damaged_file_damages_its_own_series_only(folder, spoil):
    spoil(folder / "CT1")
    found = list_series(folder)
    assert list(found) == ["1.2.3", "1.2.4"]
    assert str(folder / "CT1") in str(found["1.2.3"].damage)
    assert found["1.2.4"].damage is None
    assert read_volume(folder, series="1.2.4").data.shape == (1, 4, 5, 3)
    with pytest.raises(FormatError, match=r"CT1: .*; copy the"):
        choose_series(folder, "1.2.3")
    assert "damaged" in found["1.2.3"].describe()


def test_a_damaged_file_of_another_name_may_belong_to_each_series(folder):
    (folder / "x.dcm").write_bytes(b"")
    assert all("x.dcm" in str(info.damage) for info in list_series(folder).values())
    with pytest.raises(FormatError, match=r"x\.dcm: named \.dcm but has no DICOM preamble"):
        list_objects(folder)


def test_files_that_are_called_like_no_slice_are_no_damage(folder):
    (folder / "notes1.txt").write_text("notes")
    (folder / "VERSION").write_bytes(b"")
    assert all(info.damage is None for info in list_series(folder).values())


def test_a_folder_of_damaged_files_alone_is_one_series_that_cannot_be_read(tmp_path):
    write_series(tmp_path / "s", np.zeros((4, 5, 3), np.int16))
    for path in (tmp_path / "s").iterdir():
        cut(path)
    ((uid, info),) = list_series(tmp_path / "s").items()
    assert (uid, info.readable) == ("", False)
    with pytest.raises(FormatError, match=r"slice_0: .*copy the file"):
        read_volume(tmp_path / "s")


def test_a_value_of_the_wrong_kind_is_named_without_repeating_it(folder):
    path = folder / "CT1"
    whole = path.read_bytes()
    at = whole.index(b"\x20\x00\x32\x00DS") + 8  # ImagePositionPatient
    path.write_bytes(whole[:at] + b"Roe" + whole[at + 3 :])
    damage = str(list_series(folder)["1.2.3"].damage)
    assert "ImagePositionPatient is not what the standard says" in damage
    assert "Roe" not in damage
