import numpy as np
import pydicom
import pytest
from PIL import ImageDraw

from medseg.dicom_out import Wanted, write_dicom
from medseg.labels import Label, LabelScheme
from tests.dicom_out.series import ALGORITHM, make_series, stored_indices

SCALE = 38
"""12 rows of 9/8 columns are 512 px or more: 38 px a column of 0.8 mm, 42.75 a row of 0.9 mm."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_series(tmp_path_factory.mktemp("series") / "ct")


@pytest.fixture(scope="module")
def dataset(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    wanted = Wanted(capture=True)
    (path,) = write_dicom(folder, "case", made.findings, ALGORITHM, wanted)
    return pydicom.dcmread(path)


def test_a_frame_for_every_slice_on_which_something_is(made, dataset):
    shown = np.flatnonzero(made.stored.any(axis=(0, 1)))
    assert int(dataset.NumberOfFrames) == len(shown) == 6
    names = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
    assert names == [made.findings.source.headers[k].SOPInstanceUID for k in shown]
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.StudyInstanceUID == made.findings.source.first.StudyInstanceUID
    assert list(dataset.PatientOrientation) == ["L", "P"]


def test_red_is_around_the_liver_and_nowhere_else(made, dataset):
    """Liver (#ff0000): columns 2 to 8, rows 2 to 7 of slice 2, the third frame."""
    frame = dataset.pixel_array[2].astype(int)
    assert frame.shape == (round(12 * SCALE * 9 / 8), 14 * SCALE + 300, 3)
    red = (frame[..., 0] > 180) & (frame[..., 1] < 90) & (frame[..., 2] < 90)
    rows, columns = np.nonzero(red[:, : 14 * SCALE])
    found = columns.min(), columns.max(), rows.min(), rows.max()
    edges = 2 * SCALE, 9 * SCALE, 2 * SCALE * 9 / 8, 8 * SCALE * 9 / 8
    np.testing.assert_allclose(found, edges, atol=3)
    assert not red[round(5 * SCALE * 9 / 8), 4 * SCALE : 8 * SCALE].any()  # its inside is seen
    assert red[:, 14 * SCALE :].any()  # the legend's box


def test_volumes_and_warnings_are_written(made, monkeypatch, tmp_path):
    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, place, text, **style: (written.append(text), draw(self, place, text, **style)),
    )
    write_dicom(tmp_path, "case", made.findings, ALGORITHM, Wanted(capture=True))
    volume = (made.stored == 1).sum() * 0.8 * 0.9 * 2.5 / 1000
    assert f"liver  {volume:.1f} mL" in written
    assert {"SYNTHETIC", "not for diagnostic use", "slice 3 of 7", "R", "L", "A", "P"} <= {*written}


def test_nothing_found_gives_no_pictures(tmp_path):
    made = make_series(tmp_path / "ct", np.zeros_like(stored_indices()))
    assert write_dicom(tmp_path, "case", made.findings, ALGORITHM, Wanted(capture=True)) == ()


def test_a_legend_that_is_too_long_begins_with_what_the_slice_shows(monkeypatch, tmp_path):
    """512 px hold 5 lines of text and 19 more; 40 structures, of which slice 1 shows the last."""
    indices = np.zeros((16, 16, 2), np.int16)
    indices.reshape(-1, 2)[:39, 0] = np.arange(1, 40)
    indices[8, 8, 1] = 40
    scheme = LabelScheme(labels=tuple(Label(value=n, name=f"rib {n}") for n in range(1, 41)))
    made = make_series(tmp_path / "ct", indices, scheme)
    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, place, text, **style: (written.append(text), draw(self, place, text, **style)),
    )
    write_dicom(tmp_path, "case", made.findings, ALGORITHM, Wanted(capture=True))
    second = written[written.index("slice 2 of 2") :]
    ribs = [text for text in second if text.startswith("rib")]
    assert ribs[0].startswith("rib 40 ")
    assert f"and {40 - len(ribs)} more" in second
