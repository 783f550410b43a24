from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import ManifestError, StageError
from medseg.labels import Label, LabelScheme
from medseg.manifest import Channel, Splits
from medseg.stages.ingest import Ingest, bare_scheme
from tests.fakes import LocalContext
from tests.planning.tiny import LABELS, make_case, manifest, write, write_task


def damage_gzip(root):
    path = root / "imagesTr" / "c03.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


def damage_shape(root):
    write(root / "labelsTr" / "c03.nii.gz", np.ones((10, 12, 7), dtype=np.uint8))


def damage_zero(root):
    write(root / "imagesTr" / "c03.nii.gz", np.zeros((10, 12, 8), dtype=np.float32))


def damage_nan(root):
    image = make_case(3)[0]
    image[0, 0, 0] = np.nan
    write(root / "imagesTr" / "c03.nii.gz", image)


@pytest.mark.parametrize(
    ("damage", "cure"),
    [
        (damage_gzip, "copy it from its source"),
        (damage_shape, "re-export the label"),
        (damage_zero, "export the image again"),
        (damage_nan, "replace them"),
    ],
)
def test_one_corrupt_case_of_ten_leaves_nine(tmp_path, damage, cure):
    write_task(tmp_path / "task", 10)
    damage(tmp_path / "task")
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=manifest(tmp_path / "task")).run(context=context)
    assert [c.case.id for c in dataset.cases] == [f"c{i:02d}" for i in range(10) if i != 3]
    (aside,) = context.listed
    assert aside.case == "c03"
    assert cure in aside.reason


def test_the_data_set_artefact(tmp_path):
    write_task(tmp_path / "task", 6)
    image, _ = make_case(77)
    write(tmp_path / "task" / "imagesTs" / "new.nii.gz", image)
    described = manifest(
        tmp_path / "task", synthetic=True, mirror_axes=(1,), licence="CC0", title="Tiny things"
    )
    dataset = Ingest(manifest=described).run(context=LocalContext(tmp_path / "run"))
    places = Counter((c.split, c.fold) for c in dataset.cases)
    assert places[("test", None)] == places[("predict", None)] == 1
    assert sorted(places[("train", fold)] for fold in range(2)) == [2, 3]
    assert dataset.info.origin == "SYNTHETIC"
    assert (dataset.info.title, dataset.info.licence) == ("Tiny things", "CC0")
    assert dataset.mirror_axes == (1,)
    assert dataset.normalization == ("auto",)
    assert len(dataset.fingerprint.shapes) == 5
    assert dataset.fingerprint.spacings[0] == (1.0, 1.0, 2.0)
    by_name = {c.case.id: c for c in dataset.cases}
    assert by_name["c00"].label_voxels == {"organ": 56, "tumour": 8}
    assert by_name["new"].label_voxels == {}
    # foreground is drawn from N(150, 20)
    assert dataset.fingerprint.intensities[0].mean == pytest.approx(150, abs=4)
    assert dataset.fingerprint.intensities[0].std == pytest.approx(20, abs=3)


def test_the_digest_follows_the_voxels_alone(tmp_path):
    write_task(tmp_path / "task", 4)
    described = manifest(tmp_path / "task")

    def digest(run, of=described):
        return Ingest(manifest=of).run(context=LocalContext(tmp_path / run)).info.digest

    first = digest("a")
    recoloured = tuple(replace(row, color="#123456") for row in LABELS)
    assert digest("b", replace(described, labels=recoloured)) == first
    image, _ = make_case(0)
    image[0, 0, 0] += 1
    write(tmp_path / "task" / "imagesTr" / "c00.nii.gz", image)
    assert digest("c") != first


def test_duplicates_are_warned_of_and_stay_together(tmp_path):
    write_task(tmp_path / "task", 12)
    image, label = make_case(4)
    for twin in ("c05", "c09"):
        write(tmp_path / "task" / "imagesTr" / f"{twin}.nii.gz", image.astype(np.float64))
        write(tmp_path / "task" / "labelsTr" / f"{twin}.nii.gz", label)
    for seed in range(3):
        described = manifest(tmp_path / "task", splits=Splits(test=0.3, folds=3, seed=seed))
        dataset = Ingest(manifest=described).run(context=LocalContext(tmp_path / f"run{seed}"))
        rows = {c.case.id: c for c in dataset.cases}
        places = {(rows[n].split, rows[n].fold) for n in ("c04", "c05", "c09")}
        assert len(places) == 1
        assert "c05, c09" in rows["c04"].warnings[0]
        assert "c04, c05" in rows["c09"].warnings[0]
        assert not rows["c00"].warnings


def test_a_case_of_another_dimension_is_set_aside(tmp_path):
    from PIL import Image

    write_task(tmp_path / "task", 4)
    for folder, high in (("imagesTr", 255), ("labelsTr", 2)):
        pixels = np.random.default_rng(0).integers(0, high, (9, 9)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "task" / folder / "photo.png")
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=manifest(tmp_path / "task")).run(context=context)
    assert len(dataset.cases) == 4
    assert "2-D, most are 3-D" in context.listed[0].reason


def test_nothing_to_learn_is_an_error(tmp_path):
    write_task(tmp_path / "task", 4)
    for i in range(4):
        empty = np.zeros((10, 12, 8), dtype=np.uint8)
        write(tmp_path / "task" / "labelsTr" / f"c{i:02d}.nii.gz", empty)
    with pytest.raises(StageError, match="nothing to learn"):
        Ingest(manifest=manifest(tmp_path / "task")).run(context=LocalContext(tmp_path / "run"))


def test_one_case_cannot_train_and_validate(tmp_path):
    write_task(tmp_path / "task", 1)
    with pytest.raises(ManifestError, match="splits"):
        Ingest(manifest=manifest(tmp_path / "task")).run(context=LocalContext(tmp_path / "run"))


def test_a_mistyped_normalisation_and_test_id(tmp_path):
    write_task(tmp_path / "task", 2)
    wrong = manifest(tmp_path / "task", channels=(Channel(name="image", normalization="CT2"),))
    with pytest.raises(ManifestError, match="CT2"):
        Ingest(manifest=wrong).run(context=LocalContext(tmp_path / "run"))
    wrong = manifest(tmp_path / "task", splits=Splits(test=("c0",)))
    with pytest.raises(ManifestError, match="did you mean"):
        Ingest(manifest=wrong).run(context=LocalContext(tmp_path / "run"))


def test_the_token_notices_changed_files_and_the_split_file(tmp_path):
    write_task(tmp_path / "task", 3)
    table = tmp_path / "splits.csv"
    table.write_text("case,split,fold\n")
    stage = Ingest(manifest=manifest(tmp_path / "task", splits=Splits(file=table)))
    first = stage.inputs_token()
    assert len(first) == 7
    assert stage.inputs_token() == first
    os.utime(tmp_path / "task" / "labelsTr" / "c01.nii.gz", ns=(5, 5))
    second = stage.inputs_token()
    assert second != first
    table.write_text("case,split,fold\nc00,train,0\n")
    assert stage.inputs_token() != second


def test_the_bare_scheme_keeps_what_decides_voxels():
    scheme = LabelScheme(
        labels=(Label(value=5, name="liver", color="#ffffff", snomed="1", nsd_tolerance_mm=1.0),),
        ignore_value=255,
    )
    assert bare_scheme(scheme) == LabelScheme(
        labels=(Label(value=5, name="liver"),), ignore_value=255
    )


@pytest.mark.data
def test_hippocampus(data_root, tmp_path):
    labels = (Label(value=1, name="Anterior"), Label(value=2, name="Posterior"))
    described = manifest(data_root / "hippocampus", labels=labels, splits=Splits(test=0.2, folds=5))
    context = LocalContext(tmp_path)
    dataset = Ingest(manifest=described).run(context=context)
    assert context.listed == []
    assert not any(c.warnings for c in dataset.cases)
    places = Counter((c.split, c.fold) for c in dataset.cases)
    assert places[("test", None)] == 42
    assert places[("predict", None)] == 1
    assert sorted(places[("train", fold)] for fold in range(5)) == [33, 33, 33, 33, 34]
    every = np.array([c.grid.shape for c in dataset.cases])
    assert np.median(every, axis=0).tolist() == [35, 50, 36]
    median = np.median(dataset.fingerprint.shapes, axis=0)
    assert np.abs(median - (35, 50, 36)).max() <= 1
    assert set(dataset.fingerprint.spacings) == {(1.0, 1.0, 1.0)}
    assert {c.orientation for c in dataset.cases} == {"RAS"}
    share = np.mean(
        [
            c.label_voxels["Anterior"] / np.prod(c.grid.shape)
            for c in dataset.cases[:-1]
            if c.label_voxels
        ]
    )
    assert share == pytest.approx(0.027, abs=0.0006)  # data/README.md: 2.7 %
