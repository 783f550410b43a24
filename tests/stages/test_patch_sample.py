from __future__ import annotations

import csv
import logging

import numpy as np
import pytest

from medseg.artefacts import Resampled
from medseg.errors import ConfigError, StageError
from medseg.io.store import write_array
from medseg.labels import Label
from medseg.manifest import Channel
from medseg.sampling.patches import PatchDataset
from medseg.sampling.sampler import PatchSampler, read_locations
from medseg.settings import NetworkSettings
from medseg.stages.ingest import Ingest
from medseg.stages.patch_sample import PatchSample, locate_foreground
from medseg.stages.plan import Planning
from medseg.stages.resample import Resample
from tests.fakes import LocalContext
from tests.planning.tiny import manifest, write_task


@pytest.fixture
def prepared(tmp_path):
    write_task(tmp_path / "task", 6)
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=manifest(tmp_path / "task")).run(context=context)
    plan = Planning(patch_sample=PatchSample(patch_size=(4, 4, 4))).run(
        dataset=dataset, context=context
    )
    return Resample().run(dataset=dataset, plan=plan, context=context), plan, context


def test_the_index_covers_the_training_cases_of_all_folds(prepared):
    resampled, plan, context = prepared
    index = PatchSample(rows=50).run(resampled=resampled, plan=plan, context=context)
    training = [c.id for c in resampled.cases if c.split == "train"]
    assert [row.id for row in index.locations] == training
    assert len(training) == 5
    assert {c.fold for c in resampled.cases if c.id in training} == {0, 1}
    for row in index.locations:
        assert row.voxels == {1: 56, 2: 8}
        assert [len(c) for c in read_locations(row).values()] == [56, 8]


@pytest.mark.parametrize("balance", ["case", "dataset"])
def test_the_index_says_where_classes_are_drawn_from(prepared, balance):
    resampled, plan, context = prepared
    stage = PatchSample(rows=0, balance=balance)
    assert stage.run(resampled=resampled, plan=plan, context=context).balance == balance


def test_the_table_holds_the_first_draws(prepared, caplog):
    resampled, plan, context = prepared
    stage = PatchSample(rows=60, foreground_share=0.5, seed=4)
    with caplog.at_level(logging.INFO):
        index = stage.run(resampled=resampled, plan=plan, context=context)
    assert index.table.parent == context.workdir
    rows = list(csv.DictReader(index.table.read_text().splitlines()))
    assert list(rows[0]) == ["patch", "case", "class", "start_i", "start_j", "start_k"]
    assert len(rows) == 60
    cases = [c for c in resampled.cases if c.split == "train"]
    sampler = PatchSampler(index, cases, plan.patch_size)
    for number in (0, 17, 59):
        ref = sampler.draw(number)
        assert rows[number]["case"] == ref.case
        assert rows[number]["class"] == {None: "", 1: "organ", 2: "tumour"}[ref.foreground]
        assert tuple(int(rows[number][f"start_{a}"]) for a in "ijk") == ref.start
    organ, tumour = (sum(r["class"] == n for r in rows) for n in ("organ", "tumour"))
    assert f"organ {organ}, tumour {tumour}" in caplog.text


def test_the_same_seed_gives_the_same_table(prepared):
    resampled, plan, context = prepared

    def table(seed):
        stage = PatchSample(rows=30, seed=seed)
        return stage.run(resampled=resampled, plan=plan, context=context).table.read_text()

    assert table(1) == table(1)
    assert table(1) != table(2)


def test_a_case_without_foreground(tmp_path):
    label = write_array(tmp_path / "label.b2nd", np.zeros((4, 5), dtype=np.int16))
    found = locate_foreground(label, 0, out=tmp_path)
    assert found.voxels == {}
    assert found.file.is_file()


def test_no_training_case_is_an_error(prepared):
    _, plan, context = prepared
    with pytest.raises(StageError, match="no training case"):
        PatchSample().run(resampled=Resampled(cases=()), plan=plan, context=context)


@pytest.mark.parametrize(
    "fields", [{"foreground_share": 1.5}, {"foreground_share": -0.1}, {"rows": -1}]
)
def test_settings_out_of_range(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        PatchSample(**fields)


def test_photographs_go_all_the_way(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(3):
        for folder, pixels in (
            ("imagesTr", rng.integers(0, 255, (20, 30, 3))),
            ("labelsTr", np.kron(rng.integers(0, 2, (4, 6)), np.ones((5, 5)))),
        ):
            (tmp_path / "task" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "task" / folder / f"p{i}.png")
    described = manifest(
        tmp_path / "task",
        labels=(Label(value=1, name="road"),),
        channels=tuple(Channel(name=name) for name in ("red", "green", "blue")),
        modality="photo",
    )
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=described).run(context=context)
    plan = Planning().run(dataset=dataset, context=context)
    resampled = Resample().run(dataset=dataset, plan=plan, context=context)
    index = PatchSample(rows=5).run(resampled=resampled, plan=plan, context=context)
    cases = [c for c in resampled.cases if c.split == "train"]
    sampler = PatchSampler(index, cases, plan.patch_size)
    item = PatchDataset(sampler, cases, plan.scheme, length=5)[0]
    assert plan.patch_size == (20, 32)
    assert item["image"].shape == (3, 20, 32)
    assert item["label"].shape == (20, 32)
    assert index.table.read_text().startswith("patch,case,class,start_i,start_j\n")


def test_slices_go_all_the_way(tmp_path):
    write_task(tmp_path / "task", 3)
    context = LocalContext(tmp_path / "run")
    dataset = Ingest(manifest=manifest(tmp_path / "task")).run(context=context)
    plan = Planning(network=NetworkSettings(ndim=2)).run(dataset=dataset, context=context)
    resampled = Resample().run(dataset=dataset, plan=plan, context=context)
    index = PatchSample(rows=5).run(resampled=resampled, plan=plan, context=context)
    cases = [c for c in resampled.cases if c.split == "train"]
    sampler = PatchSampler(index, cases, plan.patch_size)
    assert plan.patch_size[2] == 1
    assert PatchDataset(sampler, cases, plan.scheme, length=5)[0]["label"].shape[2] == 1
