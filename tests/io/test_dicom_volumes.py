"""Series and files that hold several volumes of the same slices."""

from __future__ import annotations

import logging

import numpy as np
import pydicom
import pytest

from medseg.case import Case, ImageFile, VolumeRule
from medseg.errors import CaseError
from medseg.geometry.volume import Volume
from medseg.io.dicom_series import list_series
from medseg.io.load import load_image
from medseg.io.volumes import read_volume
from medseg.phantom.dicom_files import write_dicom_series
from tests.dicom_out.series import oblique_affine
from tests.io.dicom_objects import item, slices_of, write_enhanced

COUNT = 4
"""Slices of each volume."""


@pytest.fixture
def classic(tmp_path):
    data = np.random.default_rng(0).integers(-1000, 800, (1, 5, 6, COUNT)).astype(np.int16)
    volume = Volume(data=data, affine=oblique_affine())
    write_dicom_series(tmp_path / "classic", volume, patient="A")
    return tmp_path / "classic"


def diffusion(b, gradient=None):
    group = item(DiffusionBValue=float(b), DiffusionDirectionality="DIRECTIONAL")
    if gradient:
        group.DiffusionGradientDirectionSequence = [item(DiffusionGradientOrientation=gradient)]
    return {"MRDiffusionSequence": [group]}


def echo(time):
    return {"MREchoSequence": [item(EffectiveEchoTime=time)]}


def phase(number, acquisition):
    content = item(TemporalPositionIndex=number, FrameAcquisitionNumber=acquisition)
    return {"FrameContentSequence": [content]}


def dixon(word):
    return {"MRImageFrameTypeSequence": [item(FrameType=["DERIVED", "PRIMARY", "DIXON", word])]}


KINDS = {
    "b_value": ([diffusion(0), diffusion(800)], {"b_value": 800}, "b-value 800 s/mm2"),
    "direction": (
        [diffusion(0), diffusion(9, [1.0, 0.0, 0.0]), diffusion(9, [0.0, 1.0, 0.0])],
        {"b_value": 9, "direction": "0 1 *"},
        "b-value 9 s/mm2, diffusion direction 0 1 0",
    ),
    "echo_time": ([echo(2.3), echo(4.6)], {"echo_time": 4.6}, "echo time 4.6 ms"),
    "phase": (
        [phase(n, n * COUNT) for n in (1, 2, 3)],
        {"temporal_position": 3},
        "temporal position 3",
    ),
    "dixon": (
        [dixon("FAT"), dixon("WATER")],
        {"frame_type": "*water*"},
        "frame type DERIVED PRIMARY DIXON WATER",
    ),
}


def write_volumes(classic, path, kinds):
    """Write a file that holds the series once for each kind; volume v has values + 1000 v.

    The frames of a place follow each other, and the last kind stands first.
    """
    headers = [one for one in reversed(slices_of(classic)) for _ in kinds]
    order = list(reversed(range(len(kinds)))) * COUNT

    def tell(made):
        for v, group in zip(order, made.PerFrameFunctionalGroupsSequence, strict=True):
            for macro, value in kinds[v].items():
                setattr(group, macro, value)

    scales = [(1.0, -1024.0 + 1000 * v) for v in order]
    return write_enhanced(path, headers, scales, change=tell)


def load(folder, **rule):
    file = ImageFile(path=folder, volume=VolumeRule(**rule) if rule else None)
    return load_image(Case(id="c", image=(file,)))


@pytest.mark.parametrize("name", KINDS)
def test_the_volume_that_the_rule_means_is_read(classic, tmp_path, caplog, name):
    kinds, rule, words = KINDS[name]
    write_volumes(classic, tmp_path / "e/x.dcm", kinds)
    plain = load(classic).volume
    with caplog.at_level(logging.INFO):
        found = load(tmp_path / "e", **rule).volume
    np.testing.assert_array_equal(found.data, plain.data + 1000 * (len(kinds) - 1))
    np.testing.assert_allclose(found.affine, plain.affine, atol=1e-6)
    assert f"took {words}; passed over" in caplog.text
    np.testing.assert_array_equal(load(tmp_path / "e", pick="first").volume.data, plain.data)
    with pytest.raises(CaseError, match=rf"x\.dcm: holds {len(kinds)} volumes of the same slices:"):
        load(tmp_path / "e")


def test_a_rule_that_none_or_several_fulfil_is_refused_with_what_there_is(classic, tmp_path):
    write_volumes(classic, tmp_path / "e/x.dcm", [diffusion(0), diffusion(800), diffusion(1500)])
    listed = r"b-value 0 s/mm2; b-value 800 s/mm2; b-value 1500 s/mm2"
    with pytest.raises(CaseError, match=rf"0 of which fulfil the rule: {listed}") as error:
        load(tmp_path / "e", b_value=700)
    assert "'volume: {b_value: 1500}' or 'volume: {pick: first}'" in str(error.value)
    with pytest.raises(CaseError, match="3 of which fulfil the rule"):
        load(tmp_path / "e", echo_time=5)


def test_each_listed_volume_is_found_again_by_its_own_rule(classic, tmp_path):
    kinds = [{}, *KINDS["direction"][0]]  # the first says nothing of diffusion
    write_volumes(classic, tmp_path / "e/x.dcm", kinds)
    (info,) = list_series(tmp_path / "e").values()
    plain = load(classic).volume.data
    found = [load(tmp_path / "e", **vars_of(one.rule())).volume.data for one in info.volumes]
    shifts = sorted(int((one - plain).min()) for one in found)
    assert shifts == [0, 1000, 2000, 3000]
    assert [one.name for one in info.volumes] == [
        "b_value_none_direction_none",
        "b_value_0_direction_DIRECTIONAL",
        "b_value_9_direction_0 1 0",
        "b_value_9_direction_1 0 0",
    ]


def vars_of(rule):
    return {key: getattr(rule, key) for key in rule.__dataclass_fields__}


def test_single_slices_of_several_echoes(classic, tmp_path):
    for k, time in enumerate((2.5, 5.0)):
        for path in classic.iterdir():
            header = pydicom.dcmread(path)
            header.EchoTime, header.RescaleIntercept = time, -1024 + 1000 * k
            header.SOPInstanceUID = f"1.2.{k}.{header.InstanceNumber}"
            header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
            (tmp_path / "two").mkdir(exist_ok=True)
            header.save_as(tmp_path / "two" / f"{k}_{path.name}")
    plain = load(classic).volume.data
    chosen = load(tmp_path / "two", echo_time=5)
    np.testing.assert_array_equal(chosen.volume.data, plain + 1000)
    assert chosen.slice_of_file is None
    with pytest.raises(CaseError, match=r"echo time 2\.5 ms; echo time 5 ms; choose one"):
        load(tmp_path / "two")


def test_numbers_that_differ_from_slice_to_slice_split_nothing(classic):
    for k, path in enumerate(sorted(classic.iterdir())):
        header = pydicom.dcmread(path)
        header.AcquisitionNumber = k
        header.EchoTime = 3 + k % 2
        header.save_as(path)
    assert read_volume(classic).data.shape[-1] == COUNT
    (info,) = list_series(classic).values()
    assert info.volumes == ()
