from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from medseg.errors import ConfigError, StageError
from medseg.labels import Label
from medseg.planning.forecast import Room
from medseg.settings import NetworkSettings
from medseg.stages.ingest import Ingest
from medseg.stages.patch_sample import PatchSample
from medseg.stages.plan import FORECAST, Planning
from medseg.stages.resample import Resample
from medseg.stages.train import Train
from medseg.stages.train_folds import check_there
from medseg.training.measure import StepCost
from tests.fakes import LocalContext
from tests.planning.tiny import dataset, manifest


def test_the_sections_reach_the_plan(tmp_path, caplog):
    stage = Planning(
        network=NetworkSettings(name="vnet", arguments={"widths": (4, 8)}),
        resample=Resample(spacing=(1.5, 1.5, 2.0), order=1, crop=False),
        patch_sample=PatchSample(patch_size=(16, 16, 8)),
        train=Train(batch_size=5, budget="9it"),
    )
    with caplog.at_level(logging.DEBUG):
        plan = stage.run(dataset=dataset(), context=LocalContext(tmp_path))
    assert plan.network.name == "vnet"
    assert plan.network.arguments["widths"] == (4, 8)
    assert (plan.spacing, plan.order, plan.crop) == ((1.5, 1.5, 2.0), 1, False)
    assert (plan.patch_size, plan.batch_size, plan.budget) == ((16, 16, 8), 5, "9it")
    assert "vnet, patch 16 x 16 x 8, batch size 5, budget 9it" in caplog.text
    assert "resample.spacing = (1.5, 1.5, 2.0) (set in the config" in caplog.text


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (NetworkSettings(name="unett"), "did you mean 'unet'"),
        (NetworkSettings(arguments={"width": (4, 8)}), "width"),
        (NetworkSettings(arguments={"norm": "batchnorm"}), "batch"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_now(tmp_path, network, message):
    with pytest.raises(ConfigError, match=message):
        Planning(network=network).run(dataset=dataset(), context=LocalContext(tmp_path))


def test_weights_of_which_nothing_fits_are_refused_now(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"who.knows": torch.zeros(2)}, file)
    network = NetworkSettings(arguments={"widths": (4, 8)}, weights=str(file))
    stage = Planning(network=network, train=Train(network=network), measure=False)
    with pytest.raises(ConfigError, match=r"none of its 1 tensors \(such as 'who.knows'\)"):
        stage.run(dataset=dataset(), context=LocalContext(tmp_path))


SMALL = {
    "network": NetworkSettings(arguments={"widths": (4, 8)}),
    "patch_sample": PatchSample(patch_size=(16, 16, 16)),
    "train": Train(batch_size=2, budget="100it", precision="32-true"),
}


def test_the_forecast_is_beside_the_plan_and_no_part_of_it(tmp_path, monkeypatch):
    context = LocalContext(tmp_path)
    measured = Planning(**SMALL).run(dataset=dataset(), context=context)
    told = json.loads((context.workdir / FORECAST).read_text())
    assert (told["device"], told["steps"], told["budget"]) == ("cpu", 100, "100it")
    assert told["hours"] * 3600 >= told["seconds_per_step"] * 100 > 0
    assert told["parameters"] > 1000
    unmeasured = Planning(**SMALL, measure=False).run(
        dataset=dataset(), context=LocalContext(tmp_path / "other")
    )
    assert measured == unmeasured
    assert not (tmp_path / "other" / "work" / FORECAST).exists()
    slow = StepCost(seconds=1e4, device_bytes=1, host_bytes=1, steps=1)
    monkeypatch.setattr("medseg.training.measure.measure_step", lambda *_: slow)
    assert Planning(**SMALL).run(dataset=dataset(), context=context) == measured


def fake_step(plan, recipe, device, *, limit, each=1):
    """Cost ``each`` bytes per voxel of the batch; run out of memory beyond the limit."""
    voxels = recipe.batch_size
    for side in plan.patch_size:
        voxels *= side
    cost = StepCost(seconds=0.1, device_bytes=voxels * each, host_bytes=0, steps=3)
    return cost if voxels <= limit else None


def test_an_accelerator_that_is_too_small_makes_the_plan_smaller(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("medseg.stages.plan.free_memory", lambda _: 10**12)
    monkeypatch.setattr(
        "medseg.training.measure.measure_step", partial(fake_step, limit=2 * 100**3)
    )
    data = dataset(spacings=((1, 0.7676, 0.7676),) * 131, shapes=((482, 512, 512),) * 131)
    train = Train(precision="16-mixed", budget="9it")
    plan = Planning(train=train).run(dataset=data, context=LocalContext(tmp_path, device="cuda:0"))
    assert plan.batch_size == 2
    assert plan.patch_size < (128, 128, 128)
    assert "a step does not fit the memory; trying patch" in caplog.text


def test_stated_memory_is_filled(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.stages.plan.free_memory", lambda _: 10**12)
    step = partial(fake_step, limit=10**12, each=1000)
    monkeypatch.setattr("medseg.training.measure.measure_step", step)
    data = dataset(spacings=((1, 0.7676, 0.7676),) * 131, shapes=((482, 512, 512),) * 131)
    train = Train(precision="16-mixed", budget="9it", memory="8GB")  # 200^3 voxels
    plan = Planning(train=train).run(dataset=data, context=LocalContext(tmp_path, device="cuda:0"))
    voxels = plan.batch_size * plan.patch_size[0] * plan.patch_size[1] * plan.patch_size[2]
    assert 2 * 128**3 < voxels <= 8e6


def test_a_disk_that_cannot_hold_the_cases_is_refused(tmp_path, monkeypatch):
    room = Room(disk=1e3, host=1e12, device=1e12, where="runs")
    monkeypatch.setattr("medseg.stages.plan.room_of", lambda _: room)
    with pytest.raises(StageError, match=r"plan: the resampled cases need about .* GB and runs"):
        Planning(**SMALL).run(dataset=dataset(), context=LocalContext(tmp_path / "a"))
    store = tmp_path / "resample" / "cases" / "key"
    store.mkdir(parents=True)
    (store / "image.b2nd").touch()  # there is a store already: it may need no more
    Planning(**SMALL).run(dataset=dataset(), context=LocalContext(tmp_path / "a"))


def test_the_default_loss_takes_its_dice_as_planned(tmp_path):
    plan = Planning(network=NetworkSettings(ndim=2), measure=False).run(
        dataset=dataset(), context=LocalContext(tmp_path)
    )
    assert plan.batch_dice
    assert Train().recipe(plan, "cpu").loss == {"name": "dice_ce", "batch": True}
    chosen = Train(loss={"name": "dice_ce", "batch": False})
    assert chosen.recipe(plan, "cpu").loss == {"name": "dice_ce", "batch": False}
    assert Train(loss={"name": "dice"}).recipe(plan, "cpu").loss == {"name": "dice"}


@pytest.mark.parametrize("name", ["unet", "vnet"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_network_can_be_planned_on_every_device(tmp_path, name, ndim, device):
    stage = Planning(network=NetworkSettings(name=name, ndim=ndim), measure=False)
    data = dataset(spacings=((0.8, 0.8, 3.0),) * 10, shapes=((200, 180, 40),) * 10)
    plan = stage.run(dataset=data, context=LocalContext(tmp_path, device=device))
    assert (plan.slice_axis == 2) == (ndim == 2)


@pytest.mark.data
def test_hippocampus_is_planned_whole(data_root, tmp_path):
    labels = (Label(value=1, name="Anterior"), Label(value=2, name="Posterior"))
    context = LocalContext(tmp_path)
    described = manifest(data_root / "hippocampus", labels=labels)
    data = Ingest(manifest=described).run(context=context)
    plan = Planning(measure=False).run(dataset=data, context=context)
    assert plan.spacing == (1.0, 1.0, 1.0)
    assert plan.patch_size == (40, 56, 40)
    assert plan.batch_size == 8
    assert plan.normalization[0].scheme == "zscore"
    gpu = LocalContext(tmp_path / "gpu", device="cuda:0")
    for network, preset in (("unet", "default"), ("resenc_unet", "L")):
        settings = NetworkSettings(name=network, preset=preset)
        plan = Planning(network=settings, measure=False).run(dataset=data, context=gpu)
        assert plan.patch_size == (40, 56, 40)
        assert not plan.batch_dice


def test_a_fold_that_is_not_there_is_missed_before_anything_is_resampled(tmp_path):
    rows = tuple(SimpleNamespace(split="train", fold=number % 2) for number in range(4))
    divided = replace(dataset(), cases=(*rows, SimpleNamespace(split="test", fold=None)))
    for folds, missing in ((7, "7"), ([0, 2, 3], "2, 3")):
        stage = Planning(measure=False, train=Train(folds=folds))
        with pytest.raises(ConfigError, match=rf"no fold {missing}; the folds are 0, 1 "):
            stage.run(dataset=divided, context=LocalContext(tmp_path))
    check_there([1, 0], divided)
    check_there("all", divided)
    check_there(3, dataset())  # nothing is divided: training says so
