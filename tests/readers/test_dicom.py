from __future__ import annotations

import logging
import textwrap
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from medseg.errors import ManifestError
from medseg.geometry.volume import Volume
from medseg.io.load import load_image, load_label
from medseg.labels import LabelScheme, Region
from medseg.manifest_file import load_manifest
from medseg.phantom.dicom_files import write_dicom_series
from medseg.readers import read_cases
from medseg.readers.dicom import folder_ids
from medseg.stages.ingest import Ingest
from tests.fakes import LocalContext
from tests.io.dicom_objects import slices_of, write_seg


def test_folders_are_named_by_what_tells_them_apart(tmp_path):
    def ids(*names):
        return folder_ids([tmp_path / name for name in names], tmp_path)

    assert ids("data/p1/CT", "data/p2/CT") == ["p1", "p2"]
    assert ids("p1/a", "p1/b", "p2/a") == ["p1_a", "p1_b", "p2_a"]
    assert ids("x/p 1") == ["p_1"]
    assert folder_ids([tmp_path], tmp_path) == [tmp_path.name]


def test_labels_of_every_form(files, manifest):
    files.series("images/a", "images/b", "images/c", "images/d")
    files.series("labels/a/liver", "labels/a/tumour", "labels/a/spine", mask=True)
    files.label("labels/b.nii.gz")
    files.mask(*(f"labels/c/liver/{i}.png" for i in range(4)))
    a, b, c, d = read_cases(manifest("dicom"))
    assert [x.id for x in (a, b, c, d)] == ["a", "b", "c", "d"]
    assert [(p.path.name, p.select) for p in a.label] == [
        ("liver", {"liver": ()}),
        ("tumour", {"tumour": ()}),
    ]
    assert [(p.path.name, p.select) for p in b.label] == [("b.nii.gz", None)]
    assert [(p.path.name, p.select) for p in c.label] == [("liver", {"liver": ()})]
    assert (d.label, d.split) == ((), "predict")
    assert a.image[0].path == files.root / "images/a"
    assert a.image[0].series
    assert [x.group for x in (a, b)] == ["images/a", "images/b"]  # the PatientID


def test_one_mask_of_plain_slices(files, manifest):
    files.series("images/a", "images/b")
    files.mask(*(f"labels/{name}/{i}.png" for name in "ab" for i in range(4)))
    a, _ = read_cases(manifest("dicom", labels={"liver": 1}))
    assert [(p.path.name, p.select) for p in a.label] == [("a", {"liver": ()})]


def test_masks_beside_the_series(files, manifest):
    for name in ("1", "2"):
        files.series(f"{name}/PATIENT_DICOM")
        files.series(f"{name}/MASKS_DICOM/livertumor01", f"{name}/MASKS_DICOM/liver", mask=True)
    options = {
        "images": "*/PATIENT_DICOM",
        "label_dir": "{case}/MASKS_DICOM",
        "structures": {"liver": ["liver"], "tumour": ["livertumor*"]},
        "unlabelled": False,
    }
    one, two = read_cases(manifest("dicom", options=options))
    assert (one.id, two.id) == ("1", "2")
    assert [p.path.name for p in one.label] == ["liver", "livertumor01"]
    assert [p.select for p in one.label] == [{"liver": ()}, {"tumour": ()}]


def test_patient_with_two_series_stays_together(files, manifest):
    files.series("early", "late", patient="same")
    files.series("other", patient="else")
    found = read_cases(manifest("dicom"))
    assert [(c.id, c.group) for c in found] == [
        ("early", "same"),
        ("late", "same"),
        ("other", "else"),
    ]


def test_same_patient_id_everywhere_is_no_group(files, manifest):
    files.series("a", "b", patient="anonymous")
    assert {c.group for c in read_cases(manifest("dicom"))} == {None}


def test_several_series_in_one_folder_get_names_of_their_own(files, manifest):
    files.series("a")
    for path in (files.root / "a").iterdir():
        path.rename(path.with_name(f"first_{path.name}"))
    files.series("b")
    for path in (files.root / "b").iterdir():
        path.rename(files.root / "a" / path.name)
    (files.root / "b").rmdir()
    found = read_cases(manifest("dicom"))
    assert len({c.id for c in found}) == 2
    assert len({c.image[0].series for c in found}) == 2


def test_other_modalities_are_passed_over(files, manifest):
    files.series("a")
    with pytest.raises(ManifestError, match=r"no case found.*modality MR"):
        read_cases(manifest("dicom", options={"modality": "MR"}))


def test_annotations_that_are_due(files, manifest):
    files.series("images/a", "images/b")
    files.label("labels/b.nii.gz")
    with pytest.raises(ManifestError, match="no annotation under labels for a"):
        read_cases(manifest("dicom", options={"unlabelled": False}))


@pytest.mark.data
def test_real_series_are_listed(data_root, manifest):
    found = read_cases(manifest("dicom", root=data_root / "dicom"))
    assert [c.id for c in found] == ["study1_hippocrop", "study3_hippocrop", "study3_t1post"]


def write_objects(files, place, *cases, label=("Liver", "10200004"), boxes=2):
    """Write a SEG of one segment for each case's series; return the label voxels of each."""
    counts = {}
    for name in cases:
        headers = slices_of(files.root / "images" / name)
        mask = np.zeros((6, 5), bool)
        mask[1:4, 2:4] = True
        frames = [(1, k, mask) for k in range(boxes)]
        write_seg(files.root / place.format(case=name), headers, frames, [(1, *label)])
        counts[name] = boxes * int(mask.sum())
    return counts


@pytest.mark.parametrize("place", ["labels/{case}.dcm", "labels/{case}/s1.dcm"])
def test_seg_is_an_annotation_that_passes_ingest(files, tmp_path, place):
    files.series("images/a", "images/b", "images/c", "images/d")
    expected = write_objects(files, place, *"abcd")
    text = """
        reader: dicom
        root: .
        modality: CT
        labels: {liver: 1}
        options: {images: images/*, label_dir: labels, unlabelled: false}
    """
    written = files.text("m.yaml", textwrap.dedent(text))
    described = load_manifest(written, data_root=files.root, scratch=tmp_path)
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=described).run(context=context)
    assert context.listed == []
    found = {row.case.id: row.label_voxels["liver"] for row in dataset.cases}
    assert found == expected


def test_bad_cases_are_set_aside_each_with_its_reason(files, tmp_path, manifest):
    names = "abcdefg"
    files.series(*(f"images/{name}" for name in names))
    write_objects(files, "labels/{case}.dcm", *names)
    (files.root / "labels/b.dcm").write_bytes((files.root / "labels/a.dcm").read_bytes())
    for name, change in (
        ("c", {"PatientID": "Roe"}),
        ("d", {"ImageType": ["O", "P", "LOCALIZER"]}),
    ):
        path = files.root / f"images/{name}/IM0001.dcm"
        header = pydicom.dcmread(path)
        for keyword, value in change.items():
            setattr(header, keyword, value)
        header.save_as(path)
    cut = files.root / "images/e/IM0001.dcm"
    cut.write_bytes(cut.read_bytes()[:-20])
    options = {"images": "images/*", "label_dir": "labels", "unlabelled": False}
    described = manifest("dicom", labels={"liver": 1}, options=options, modality="CT")
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=described).run(context=context)
    assert [row.case.id for row in dataset.cases] == ["a", "f", "g"]
    reasons = {row.case: row.reason for row in context.listed}
    expected = {
        "b": "refers to 4 slices, none of which is in the image",
        "c": "has another PatientID than",
        "d": "is a scout (ImageType LOCALIZER) among slices (1 of 4)",
        "e": "IM0001.dcm: pixels cannot be decoded",
    }
    assert reasons.keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons[name]
    assert "Roe" not in reasons["c"]


def test_codes_and_regions_of_the_manifest_reach_the_segments(files, manifest):
    files.series("images/a")
    write_objects(files, "labels/{case}.dcm", "a", label=("GTV", "108369006"))
    described = replace(
        manifest("dicom", labels={"core": 1, "rim": 2}),
        regions=(Region(name="tumour", labels=("core",), snomed="108369006"),),
    )
    (case,) = read_cases(described)
    bare = LabelScheme(labels=described.labels)  # as the stages hand it on
    assert load_label(case, bare, load_image(case)).sum() == 12


def test_objects_may_lie_beside_the_slices(files, manifest):
    files.series("images/a")
    write_objects(files, "images/a/seg.dcm", "a")
    options = {"images": "images/*", "label_dir": "images/{case}"}
    (case,) = read_cases(manifest("dicom", options=options))
    assert load_label(case, manifest("dicom").scheme, load_image(case)).sum() == 12


def several(files, folder, *descriptions):
    """Put several series into one folder."""
    for number, description in enumerate(descriptions, start=1):
        data = files.rng.integers(-1000, 500, (1, 5, 6, number + 1)).astype(np.int16)
        volume = Volume(data=data, affine=np.diag([-1.0, -1, 2, 1]))
        part = files.root / "aside" / description
        write_dicom_series(part, volume, patient="p", seed=number, description=description)
        for path in part.iterdir():
            header = pydicom.dcmread(path)
            header.SeriesNumber = 10 - number
            target = files.place(f"{folder}/{description}_{path.name}")
            header.save_as(target)


@pytest.mark.parametrize(
    ("rule", "slices"),
    [
        ({"description": "*portal*"}, 3),
        ({"number": 9}, 2),
        ({"pick": "most_slices"}, 4),
        ({"pick": "fewest_slices", "modality": "CT"}, 2),
        ({"pick": "first"}, 4),
        ({"pick": "last"}, 2),
    ],
)
def test_rule_chooses_among_the_series_of_a_folder(files, manifest, caplog, rule, slices):
    several(files, "images/a", "arterial", "Portal venous", "late")
    files.label("labels/a.nii.gz")
    options = {"images": "images/*", "series": rule}
    with caplog.at_level(logging.INFO):
        (case,) = read_cases(manifest("dicom", options=options))
    assert case.id == "a"
    assert load_image(case).volume.data.shape[-1] == slices
    assert "passed over CT '" in caplog.text
    assert caplog.text.count(" x 5 x 6") == 3  # the chosen one and the two others


def test_several_series_with_one_annotation_are_listed(files, manifest):
    several(files, "images/a", "arterial", "portal venous")
    files.label("labels/a.nii.gz")
    listed = r"CT 'portal venous', number 8, 3 x 5 x 6; CT 'arterial', number 9, 2 x 5 x 6"
    with pytest.raises(ManifestError, match=f"2 series share one annotation: {listed}"):
        read_cases(manifest("dicom", options={"images": "images/*"}))
    options = {"images": "images/*", "series": {"modality": "CT"}}
    with pytest.raises(ManifestError, match=r"2 series fulfil 'modality: CT'.*narrow the man"):
        read_cases(manifest("dicom", options=options))
    options = {"images": "images/*", "series": {"description": "x*"}}
    with pytest.raises(ManifestError, match=rf"'description: x\*'; there are {listed}"):
        read_cases(manifest("dicom", options=options))
    with pytest.raises(ManifestError, match="did you mean 'description'"):
        read_cases(manifest("dicom", options={"series": {"descripton": "x*"}}))


def test_scouts_and_other_modalities_are_passed_over(files, manifest, caplog):
    several(files, "images/a", "arterial", "scout", "pet")
    for path in (files.root / "images/a").iterdir():
        header = pydicom.dcmread(path)
        if path.name.startswith("scout"):
            header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        elif path.name.startswith("pet"):
            header.Modality = "PT"
        header.save_as(path)
    files.label("labels/a.nii.gz")
    with caplog.at_level(logging.INFO):
        (case,) = read_cases(manifest("dicom", options={"images": "images/*"}, modality="CT"))
    assert load_image(case).volume.data.shape[-1] == 2
    assert "a scout" in caplog.text


def test_damaged_headers_are_named_before_anything_is_read(files, manifest):
    files.series("images/a")
    path = files.root / "images/a/IM0002.dcm"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ManifestError, match=r"IM0002\.dcm: (the header of|DICOM header)"):
        read_cases(manifest("dicom"))


def test_damaged_series_are_set_aside_and_the_others_go_on(files, tmp_path, manifest):
    names = "abcdefg"
    files.series(*(f"images/{name}/CT" for name in names))
    write_objects(files, "labels/{case}.dcm", *(f"{name}/CT" for name in names))
    cut = files.root / "images/c/CT/IM0002.dcm"
    cut.write_bytes(cut.read_bytes()[:700])
    for path in (files.root / "images/d/CT").iterdir():  # nothing of it can be read
        path.write_bytes(b"")
    (files.root / "images/notes").mkdir()
    (files.root / "images/notes/scan.dcm").write_bytes(b"text")  # not where the others are
    seg = files.root / "labels/e/CT.dcm"
    seg.write_bytes(seg.read_bytes()[:1200])
    options = {"images": "images/**", "label_dir": "labels", "series": {"modality": "CT"}}
    described = manifest("dicom", labels={"liver": 1}, options=options, modality="CT")
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=described).run(context=context)
    assert [row.case.id for row in dataset.cases] == ["a", "b", "f", "g"]
    reasons = {row.case: row.reason for row in context.listed}
    assert reasons.keys() == {"c", "d", "e", "images_notes"}
    assert "CT/IM0002.dcm: the header of a CT Image ends before" in reasons["c"]
    assert "has no DICOM preamble (empty or cut short?)" in reasons["d"]
    assert "labels/e/CT.dcm: " in reasons["e"]


def test_several_volumes_of_a_series(files, manifest):
    files.series("images/a", "images/b")
    for path in (files.root / "images/a").iterdir():
        header = pydicom.dcmread(path)
        header.EchoTime = 2.5
        header.save_as(path)
        header.EchoTime = 5.0
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.save_as(path.with_name(f"late_{path.name}"))
    options = {"images": "images/*"}
    found = read_cases(manifest("dicom", options=options))
    assert [case.id for case in found] == ["a_echo_time_2.5", "a_echo_time_5", "b"]
    shapes = {load_image(case).volume.data.shape for case in found}
    assert len(shapes) == 1
    files.label("labels/a.nii.gz", "labels/b.nii.gz")
    options["volume"] = {"echo_time": 5}
    assert [c.id for c in read_cases(manifest("dicom", options=options))] == ["a", "b"]
    with pytest.raises(ManifestError, match="did you mean 'echo_time'"):
        read_cases(manifest("dicom", options=options | {"volume": {"echotime": 5}}))


@pytest.mark.data
def test_real_seg_is_an_annotation(data_root, manifest, tmp_path):
    real = data_root / "dicom_seg/dcmqi"
    for name, target in (("images/a", "ct-3slice"), ("labels/a.dcm", "liver.dcm")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(real / target)
    (case,) = read_cases(manifest("dicom", options={"images": "images/*"}))
    assert case.id == "a"
    assert load_label(case, manifest("dicom").scheme, load_image(case)).sum() == 107098
