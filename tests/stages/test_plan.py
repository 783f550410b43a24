from __future__ import annotations

import logging

import pytest

from medseg.errors import ConfigError
from medseg.labels import Label
from medseg.settings import NetworkSettings
from medseg.stages.ingest import Ingest
from medseg.stages.patch_sample import PatchSample
from medseg.stages.plan import Planning
from medseg.stages.resample import Resample
from medseg.stages.train import Train
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


@pytest.mark.parametrize("name", ["unet", "vnet"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_network_can_be_planned_on_every_device(tmp_path, name, ndim, device):
    stage = Planning(network=NetworkSettings(name=name, ndim=ndim))
    data = dataset(spacings=((0.8, 0.8, 3.0),) * 10, shapes=((200, 180, 40),) * 10)
    plan = stage.run(dataset=data, context=LocalContext(tmp_path, device=device))
    assert (plan.slice_axis == 2) == (ndim == 2)


@pytest.mark.data
def test_hippocampus_is_planned_whole(data_root, tmp_path):
    labels = (Label(value=1, name="Anterior"), Label(value=2, name="Posterior"))
    context = LocalContext(tmp_path)
    described = manifest(data_root / "hippocampus", labels=labels)
    plan = Planning().run(dataset=Ingest(manifest=described).run(context=context), context=context)
    assert plan.spacing == (1.0, 1.0, 1.0)
    assert plan.patch_size == (40, 56, 40)
    assert plan.batch_size == 8
    assert plan.normalization[0].scheme == "zscore"
