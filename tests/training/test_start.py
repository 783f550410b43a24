"""A training that begins from the weights of a file."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.training import loop
from medseg.training.launch import train
from medseg.training.schedule import Budget
from medseg.training.start import TABLE, check_start, load_start
from medseg.training.task import Start
from tests.networks.test_pretrained import ResNet18
from tests.training.made import Recorder, make_task

STILL = {"lr": 0.0, "weight_decay": 0.0, "precision": "32-true"}


def network(**more):
    arguments = {
        "ndim": 2, "in_channels": 1, "num_classes": 3, "encoder": "resnet18", "width": 0.125,
        "channels": 8, **more,
    }  # fmt: skip
    return NetworkSpec(name="semantic_fpn", arguments=arguments)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("given") / "resnet18.pth"
    torch.save(ResNet18().state_dict(), path)
    return path


def task_from(folder, file, **recipe):
    task = make_task(folder, size=32, **recipe)
    return replace(task, plan=replace(task.plan, network=network()), start=Start(file=file))


def table(task):
    with (task.folder / TABLE).open() as file:
        return {row["tensor"]: row["fate"] for row in csv.DictReader(file)}


def test_the_encoder_begins_from_the_file_and_the_head_at_random(tmp_path, resnet):
    """Steps of size 0 leave what was loaded where it is."""
    task = task_from(tmp_path, resnet, budget=Budget(iterations=2), **STILL)
    state = train(task, Recorder())
    trained, given = load_file(loop.best_weights(task, state)), torch.load(resnet)
    name = "encoder.stages.2.1.layers.0.0.weight"
    assert torch.equal(trained[name], given["layer3.1.conv1.weight"])
    first = given["conv1.weight"].sum(1, keepdim=True)  # three equal channels stand for one
    torch.testing.assert_close(trained["encoder.stem.0.0.weight"], first)
    fates = table(task)
    assert fates[name] == "loaded"
    assert fates["encoder.stem.0.0.weight"] == "other channels"
    assert fates["fc.weight"] == "not used: no place in the network"
    heads = [name for name in trained if name.startswith("head.")]
    assert {fates[name] for name in heads if "num_batches" not in name} == {
        "untrained: not in the file"
    }


def test_a_resumed_training_does_not_read_the_file_again(tmp_path, resnet, monkeypatch):
    """The file is gone when the killed training goes on; it ends as the undisturbed one."""
    how = {"budget": Budget(iterations=4), "checkpoint_every": Budget(iterations=1)}
    how |= {"precision": "32-true", "validations": 1}
    copy = tmp_path / "copy.pth"
    copy.write_bytes(resnet.read_bytes())
    calm = task_from(tmp_path / "calm", copy, **how)
    killed = task_from(tmp_path / "killed", copy, **how)
    wanted = load_file(loop.best_weights(calm, train(calm, Recorder())))
    plain = loop.train_step

    def dies(learner, batch, lr, clip, step, task):
        if step == 2:
            raise KeyboardInterrupt
        return plain(learner, batch, lr, clip, step, task)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train(killed, Recorder())
    copy.unlink()
    got = load_file(loop.best_weights(killed, train(killed, Recorder())))
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_a_network_of_slices_and_an_inflated_one_begin_from_it_too(resnet):
    given = torch.load(resnet)["layer1.0.conv1.weight"]
    slices = build_network(network(), slice_axis=2)
    load_start(slices, Start(file=resnet))
    name = "encoder.stages.0.0.layers.0.0.weight"
    assert torch.equal(slices.network.get_parameter(name), given)
    volumes = build_network(network(ndim=3))
    with pytest.raises(ConfigError, match=r"network\.inflate: true"):
        load_start(volumes, Start(file=resnet))
    load_start(volumes, Start(file=resnet, inflate=True))
    torch.testing.assert_close(volumes.get_parameter(name).sum(2), given)


def test_what_does_not_fit_at_all_is_refused(tmp_path, resnet):
    assert check_start(network(), Start(file=resnet)).loaded
    with pytest.raises(ConfigError, match=r"network\.weights: nothing of .* fits .* mismatched"):
        check_start(network(), Start(file=shrunk(tmp_path, resnet)))
    save_file({"who.knows": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="none of its 1 tensors"):
        check_start(network(), Start(file=tmp_path / "other.safetensors"))


def shrunk(folder, resnet):
    """The same names with other shapes."""
    path = folder / "shrunk.pth"
    torch.save({name: value.flatten()[:1] for name, value in torch.load(resnet).items()}, path)
    return path


def test_a_checkpoint_of_ours_is_a_start_as_well(tmp_path, resnet):
    task = task_from(tmp_path, resnet, budget=Budget(iterations=1), **STILL)
    state = train(task, Recorder())
    for file in (task.folder / "last.ckpt", loop.best_weights(task, state)):
        report = check_start(network(num_classes=5), Start(file=file))
        assert not report.unused
        assert not report.untouched
        assert {name.split(".")[0] for name in report.mismatched} == {"head"}  # five classes
