from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.inference.device import choose_device
from medseg.inference.weights import load_network, load_predictor
from medseg.model_folder import read_model_folder
from medseg.networks import build_network
from tests.inference.toys import install, make_model_folder, make_plan

SPEC = NetworkSpec(
    name="unet",
    arguments={"ndim": 2, "in_channels": 1, "num_classes": 2, "widths": (4, 8)},
)


@pytest.mark.parametrize("slice_axis", [None, 2])
def test_loaded_network_answers_as_the_saved_one(tmp_path, slice_axis):
    torch.manual_seed(3)
    network = build_network(SPEC, slice_axis).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    loaded = load_network(SPEC, tmp_path / "w.safetensors", slice_axis)
    assert not loaded.training
    image = torch.rand(1, 1, 8, 8) if slice_axis is None else torch.rand(1, 1, 8, 8, 3)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))


def test_damaged_weights_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(build_network(SPEC).state_dict(), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"w\.safetensors: the weights cannot be read"):
        load_network(SPEC, path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_network(SPEC, tmp_path / "missing.safetensors")


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="not the weights of network 'unet'"):
        load_network(SPEC, tmp_path / "w.safetensors")


def test_predictor_of_a_model_folder(tmp_path, monkeypatch):
    install(monkeypatch)
    plan = make_plan(spacing=(1.0, 1.0), patch_size=(4, 4))
    folder = read_model_folder(make_model_folder(tmp_path, plan))
    predictor = load_predictor(folder, "cpu")
    assert predictor.patch_size == (4, 4)
    assert predictor.precision == "32-true"
    assert predictor.mirror_axes == ()
    assert predictor.network.threshold == 0.5


def test_devices():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="must be auto, cpu, cuda or cuda:N"):
        choose_device("cuda:x")
    with pytest.raises(ConfigError, match="not there"):
        choose_device("cuda:99")
