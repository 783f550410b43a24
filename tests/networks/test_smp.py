"""segmentation_models.pytorch under the contract.

The library does not import beside the torch of our CI, so ``fake_smp`` stands in for it: a module
with ``create_model`` of the documented signature, whose model refuses sizes that its encoder's
stride does not divide, as the library's does. The last test runs where the real one is.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError, MissingExtraError
from medseg.networks import build_network
from medseg.networks.smp import PAPERS

BASE = {"ndim": 2, "in_channels": 2, "num_classes": 3}


class FakeModel(nn.Module):
    """Batch norm of one pooled value, as in the library's DeepLab v3."""

    def __init__(self, in_channels: int, classes: int, stride: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.encoder.output_stride = stride
        self.norm, self.segmentation_head = nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] % self.encoder.output_stride or x.shape[3] % self.encoder.output_stride:
            raise RuntimeError(f"Wrong input shape height={x.shape[2]}, width={x.shape[3]}")
        y = self.encoder(x)
        return self.segmentation_head(y + self.norm(y.mean((2, 3), keepdim=True)))


@pytest.fixture
def fake_smp(monkeypatch):
    asked = {}

    def create_model(
        arch, encoder_name="resnet34", encoder_weights="imagenet", in_channels=3, classes=1, **more
    ):
        asked.update(arch=arch, encoder_name=encoder_name, encoder_weights=encoder_weights, **more)
        if encoder_name == "unknown":
            raise KeyError("Wrong encoder name `unknown`")
        return FakeModel(in_channels, classes, 16)

    module = ModuleType("segmentation_models_pytorch")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", module)
    return asked


def make(name: str = "deeplabv3", **arguments):
    torch.manual_seed(0)
    return build_network(NetworkSpec(name=f"smp:{name}", arguments={**BASE, **arguments}))


def test_one_odd_image_in_training_and_in_evaluation(fake_smp):
    network, image = make(encoder_name="resnet18", encoder_depth=4), torch.randn(1, 2, 33, 20)
    assert fake_smp == {
        "arch": "deeplabv3",
        "encoder_name": "resnet18",
        "encoder_weights": None,  # nothing is downloaded
        "encoder_depth": 4,
    }
    assert network.divisor == (16, 16)
    assert network.train()(image).shape == (1, 3, 33, 20)
    network.eval()
    assert network(image).shape == (1, 3, 33, 20)
    fitting = torch.randn(2, 2, 32, 16)
    assert torch.equal(network(fitting), network.network(fitting))


def test_pan_gets_a_map_that_it_can_halve_three_times(fake_smp):
    seen = []
    network = make("pan").eval()
    network.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2:]))
    assert network(torch.randn(1, 2, 33, 150)).shape == (1, 3, 33, 150)
    assert seen == [(128, 160)]


def test_dpt_gets_an_encoder_that_it_can_use(fake_smp):
    make("dpt")
    assert fake_smp["encoder_name"].startswith("tu-vit_")
    make("dpt", encoder_name="tu-deit_tiny_patch16_224")
    assert fake_smp["encoder_name"] == "tu-deit_tiny_patch16_224"
    assert fake_smp["dynamic_img_size"] is True
    assert make("dpt").divisor == (32, 32)  # its encoder, of stride 16, is halved once more


def test_a_single_image_trains_as_two_of_it(fake_smp):
    network, image = make().train(), torch.randn(1, 2, 32, 32)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network.network(image)
    assert torch.equal(network(image), network(torch.cat((image, image)))[:1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ndim": 3}, "'smp:deeplabv3' exists in 2-D alone"),
        ({"encoder_weights": "imagenet"}, "'imagenet' would be downloaded"),
        ({"activation": "softmax"}, "activation: networks return logits alone"),
        ({"encoder_name": "unknown"}, "Wrong encoder name"),
    ],
)
def test_what_does_not_fit_is_told(fake_smp, arguments, says):
    with pytest.raises(ConfigError, match=says):
        make(**arguments)


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"'smp:pan' needs.*medseg\[smp\]") as told:
        make("pan")
    assert "\n" not in str(told.value)


def test_an_unknown_architecture_gets_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'smp:unetplusplus'"):
        make("unetplusplu")


@pytest.mark.parametrize("name", PAPERS)
def test_the_real_library(name):
    pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    network = make(name).train()
    assert network(torch.randn(1, 2, 70, 65)).shape == (1, 3, 70, 65)
    assert network.eval()(torch.randn(1, 2, 70, 65)).shape == (1, 3, 70, 65)
