from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.case import Case, ImageFile
from medseg.geometry.volume import Volume
from medseg.identifiers import (
    Identity,
    concealed,
    hidden_words,
    hide,
    hide_id,
    hide_only,
    hide_patient,
    pseudonym,
    shown_patients,
    without_patients,
)
from medseg.manifest import Manifest
from medseg.phantom.dicom_files import write_dicom_series
from medseg.readers.patients import hide_ids, hide_sources, hide_words

DOE = Identity(patient_id="4711", name="Doe^Jane", birth_date="19710203", study_date="20210908")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("MEDSEG_IDENTIFIER_KEY", raising=False)


@pytest.mark.parametrize(
    "text", ["doe", "CT_Doe_2", "jane-ct", "p4711", "1971-02-03", "x_20210908_1", "DOE.JANE"]
)
def test_an_id_with_a_word_of_the_header_names_the_patient(text):
    assert DOE.is_in(text)


@pytest.mark.parametrize("text", ["", "scan_1", "case-0123456789", "d", "471_2"])
def test_other_ids_do_not(text):
    assert not DOE.is_in(text)


def test_a_short_id_must_be_a_whole_part():
    assert Identity(patient_id="7").is_in("liver_7")
    assert not Identity(patient_id="7").is_in("liver_17")


def test_words_that_stand_for_no_name_and_removed_identities_name_nobody():
    assert not Identity(name="patient^anonymous").is_in("patient_1")
    header = pydicom.Dataset()
    header.PatientID, header.PatientName = "LIDC-1", "LIDC-1"
    assert Identity.of(header).is_in("LIDC-1")
    header.PatientIdentityRemoved = "YES"
    assert not Identity.of(header).is_in("LIDC-1"), "a pseudonym of the data set's own"


def test_an_empty_header_names_nobody():
    assert Identity.of(pydicom.Dataset()).words == ()
    assert not Identity().is_in("anything 1")


def test_a_hash_depends_on_text_kind_and_key(monkeypatch):
    plain = pseudonym("4711", kind="patient")
    assert plain.startswith("patient-")
    assert "4711" not in plain
    assert len({plain, pseudonym("4712", kind="patient"), pseudonym("4711", kind="case")}) == 3
    monkeypatch.setenv("MEDSEG_IDENTIFIER_KEY", "secret")
    assert pseudonym("4711", kind="patient") != plain


def cases():
    rows = [("b", "Doe"), ("a", "Roe"), ("d", None), ("c", "Doe")]
    return [Case(id=i, image=(ImageFile(path=Path(i)),), group=g) for i, g in rows]


def test_patients_are_numbered_in_the_order_of_the_ids_or_hashed_or_kept():
    drop, hashed = without_patients(cases(), "drop"), without_patients(cases(), "hash")
    assert [c.group for c in drop] == ["patient-002", "patient-001", None, "patient-002"]
    assert [c.group for c in without_patients(cases(), "keep")] == ["Doe", "Roe", None, "Doe"]
    assert hashed[0].group == hashed[3].group == pseudonym("Doe", kind="patient")
    assert hashed[1].group not in (hashed[0].group, "Roe")
    assert hashed[2].group is None


def test_what_was_replaced_before_is_left_as_it_is():
    once = {"a": "patient-004", "b": None, "c": "patient-002"}
    assert shown_patients(once, "drop", again=True) == once
    assert shown_patients(once, "drop") == {"a": "patient-001", "b": None, "c": "patient-002"}
    mixed = {"a": "patient-004", "c": "Doe"}
    assert "Doe" not in shown_patients(mixed, "hash", again=True).values()


def series(tmp_path, **more):
    """One case of a folder named after the patient, one of another."""
    found = [
        Case(id=name, image=(ImageFile(path=tmp_path / name / "CT", series=f"1.2.{i}"),))
        for i, name in enumerate(("DOE_JANE", "scan_2"))
    ]
    manifest = Manifest(name="m", reader="dicom", root=tmp_path, labels=(), **more)
    return found, {"DOE_JANE": DOE, "scan_2": DOE}, manifest


def test_an_id_that_is_a_name_becomes_a_hash_that_stays(tmp_path):
    found, identities, manifest = series(tmp_path, identifiers="drop", exclude=("DOE_JANE",))
    kept, changed = hide_ids(found, identities, manifest)
    assert [c.id for c in kept][1] == "scan_2"
    assert kept[0].id.startswith("case-")
    assert changed.exclude == (kept[0].id,)
    assert hide_ids(found[:1], identities, manifest)[0][0].id == kept[0].id
    assert hide_ids(found, identities, series(tmp_path)[2])[0] == found, "keep is the default here"


def test_messages_do_not_show_the_folder_any_more(tmp_path):
    found, identities, manifest = series(tmp_path, identifiers="drop")
    hide_words(found[0].image[0].path, list(identities.values()), manifest)
    hide_words(found[1].image[0].path, [Identity(name="Cleo^T", removed=True)], manifest)
    text = concealed(f"{tmp_path}/DOE_JANE/CT/1.dcm: cut short; Doe^Jane, 4711, 19710203 of Doe")
    for secret in ("DOE", "JANE", "Doe", "Jane", "4711", "1971"):
        assert secret not in text
    assert "CT/1.dcm: cut short" in text
    assert concealed("doer, 14711 and scan_2, Cleo") == "doer, 14711 and scan_2, Cleo"


def test_messages_show_everything_where_it_is_kept(tmp_path):
    found, identities, manifest = series(tmp_path, identifiers="keep")
    hide_words(found[0].image[0].path, list(identities.values()), manifest)
    assert concealed("DOE_JANE") == "DOE_JANE"


def test_short_words_are_not_looked_for_in_messages():
    hide(["7", "ab", "abc"], "x")
    hide(["abc"], "y")
    assert concealed("7 ab abc") == "7 ab x"


def test_a_new_id_is_shown_in_place_of_the_old_one_and_told_once():
    hide(["DOE_1"], "[patient]")
    assert hide_id("DOE_1", "case-1")
    assert not hide_id("DOE_1", "case-1")
    hide(["DOE_1"], "[patient]")
    assert concealed("case DOE_1: ok") == "case case-1: ok"
    assert not hide_id("7", "case-2"), "too short to be looked for"


def test_a_hidden_word_is_found_in_any_case_and_beside_digits_or_separators():
    hide(["Doe", "4711"], "x")
    assert concealed("DOE doe_1 1doe2 p4711a") == "x x_1 1x2 pxa"
    assert concealed("doer Adoe 14711 47112") == "doer Adoe 14711 47112"


def test_the_pseudonym_in_a_message_is_left_whole():
    hide(["abe", "Doe"], "[patient]")
    hide_id("Doe_1", "case-12abe45678")
    assert concealed("Doe_1 is case-12abe45678, doe_1, abe") == (
        "case-12abe45678 is case-12abe45678, case-12abe45678, [patient]"
    )


@pytest.mark.parametrize("text", ["03.02.1971", "02/03/1971", "1971_02_03", "08092021"])
def test_a_date_is_known_in_every_order(text):
    assert DOE.is_in(text) or DOE.is_in(text.replace("/", "-"))


def test_files_and_folders_named_after_a_patient_are_hidden_in_parts_or_whole():
    wu = Identity(name="Wu^Li", patient_id="55", birth_date="19710203", accession="A77X")
    hide_patient(wu, ["CT", "Wu", "wuli0001.dcm", "wuli0002.dcm", "scan_1971-02-03"])
    shown = concealed("/d/Wu/CT/wuli0001.dcm and wuli0009.dcm, A77X, 03.02.1971, 1971_02_03, 55 %")
    assert shown == (
        "/d/[patient]/CT/[patient]0001.dcm and [patient]0009.dcm, [patient], [patient], "
        "[patient], 55 %"
    )
    assert wu.is_in("x_liwu7")
    assert not wu.is_in("blip")
    before = hidden_words()
    hide_patient(Identity(name="Wu^Li", removed=True), ["wuli"])
    hide_patient(Identity(), ["CT"])
    assert hidden_words() == before


def test_another_process_hides_the_same_words_and_no_others():
    hide(["Doe"], "x")
    words = hidden_words()
    hide_only({"Roe": "y"})
    assert concealed("Doe Roe") == "Doe y"
    hide_only(words)
    assert concealed("Doe Roe") == "x Roe"


def test_a_table_keeps_its_ids_and_its_patients_stay_out_of_messages(tmp_path, caplog):
    volume = Volume(data=np.zeros((1, 4, 4, 3), np.int16), affine=np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_dicom_series(tmp_path / "Quux^Amadeus", volume, patient="Quux^Amadeus")
    path = tmp_path / "Quux^Amadeus"
    found = [
        Case(id="quux_1", image=(ImageFile(path=path),)),
        Case(id="b", image=(ImageFile(path=tmp_path / "none.nii.gz"),)),
    ]
    manifest = Manifest(name="m", reader="table", root=tmp_path, labels=(), identifiers="keep")
    hide_sources(found, manifest)
    assert hidden_words() == {}
    caplog.set_level("INFO")
    for _ in range(2):
        hide_sources(found, replace(manifest, identifiers="drop"))
    assert concealed(f"{path}/1.dcm: cut short") == f"{tmp_path}/[patient]/1.dcm: cut short"
    assert caplog.text.count("1 of 2 case ids hold the patient's id") == 1
