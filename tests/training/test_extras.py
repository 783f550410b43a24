"""What a network makes beside its logits reaches the loss."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from medseg.artefacts import NetworkSpec
from medseg.training.launch import train
from tests.training.made import Recorder, make_task


@pytest.mark.parametrize("regions", [False, True])
def test_the_presence_of_classes_is_trained_and_logged(tmp_path, regions):
    task = make_task(tmp_path, regions=regions)
    arguments = {
        "ndim": 2,
        "in_channels": 1,
        "num_classes": task.plan.network.arguments["num_classes"],
        "encoder": "resnet18",
        "width": 0.125,
    }
    network = NetworkSpec(name="encnet", arguments=arguments)
    train(replace(task, plan=replace(task.plan, network=network)), Recorder())
    with (task.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    seen = [float(row["train/loss/presence"]) for row in rows if row.get("train/loss/presence")]
    assert seen
    assert all(0 < value < 5 for value in seen)
