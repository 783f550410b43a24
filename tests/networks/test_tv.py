"""torchvision under the contract.

torchvision does not import beside the torch of our CI, so ``fake_torchvision`` stands in for it:
its functions have the documented signatures, its networks return what the documentation says. The
last tests run where the real one is.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from types import ModuleType

import pytest
import torch
from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError, MissingExtraError
from medseg.networks import Prediction, build_network
from medseg.networks.pretrained import load_pretrained
from medseg.networks.tv import FORMS, paint
from medseg.networks.wrapped import first_conv_to

BASE = {"ndim": 2, "in_channels": 2, "num_classes": 3}


class FakeSegmentation(nn.Module):
    def __init__(self, num_classes: int, aux: bool) -> None:
        super().__init__()
        self.backbone = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3, padding=1)))
        self.classifier = nn.Conv2d(4, num_classes, 1)
        self.aux_classifier = nn.Conv2d(4, num_classes, 1) if aux else None

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.backbone(x)
        out = OrderedDict(out=self.classifier(y))
        if self.aux_classifier is not None:
            out["aux"] = self.aux_classifier(y)
        return out


class FakeDetection(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.num_classes = num_classes

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = []
        for image in images:
            masks = torch.zeros(2, 1, *image.shape[1:])
            masks[0, 0, :2], masks[1, 0, 1:3] = 0.9, 1.0
            found.append({"labels": torch.tensor([1, 2]), "scores": torch.tensor([1.0, 0.6]),
                          "masks": masks, "boxes": torch.zeros(2, 4)})  # fmt: skip
        return found


@pytest.fixture
def fake_torchvision(monkeypatch):
    asked = {}

    def with_aux(
        *, weights=None, progress=True, num_classes=None, aux_loss=None,
        weights_backbone="IMAGENET1K_V1", **kwargs,
    ):  # fmt: skip
        asked.update(weights=weights, weights_backbone=weights_backbone)
        return FakeSegmentation(num_classes, bool(aux_loss))

    def lraspp(*, weights=None, progress=True, num_classes=None, weights_backbone="IMAGENET1K_V1"):
        asked.update(weights=weights, weights_backbone=weights_backbone)
        return FakeSegmentation(num_classes, aux=False)

    def mask_rcnn(
        *, weights=None, progress=True, num_classes=None, weights_backbone="IMAGENET1K_V1",
        trainable_backbone_layers=None, **kwargs,
    ):  # fmt: skip
        asked.update(weights=weights, weights_backbone=weights_backbone, **kwargs)
        return FakeDetection(num_classes)

    names = ("torchvision", "torchvision.models", "torchvision.models.segmentation",
             "torchvision.models.detection")  # fmt: skip
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    segmentation = sys.modules["torchvision.models.segmentation"]
    for form in FORMS.values():
        setattr(segmentation, form.build, with_aux if form.auxiliary else lraspp)
    sys.modules["torchvision.models.detection"].maskrcnn_resnet50_fpn = mask_rcnn
    return asked


def make(name: str = "deeplabv3", **arguments):
    torch.manual_seed(0)
    return build_network(NetworkSpec(name=f"tv:{name}", arguments={**BASE, **arguments}))


@pytest.mark.parametrize("name", FORMS)
def test_one_odd_image_in_training_and_in_evaluation(fake_torchvision, name):
    network, image = make(name), torch.randn(1, 2, 33, 20)
    assert fake_torchvision == {"weights": None, "weights_backbone": None}  # nothing is downloaded
    out = network.train()(image)
    if FORMS[name].auxiliary:
        assert isinstance(out, Prediction)
        assert [tuple(x.shape) for x in out.aux] == [(1, 3, 33, 20)]
        assert out.aux_weights == (0.4,)
        out = out.logits
    assert out.shape == (1, 3, 33, 20)
    fitting = torch.randn(2, 2, 32, 64)
    assert torch.equal(network.eval()(fitting), network.network(fitting)["out"])


def test_the_auxiliary_head_can_be_left_out(fake_torchvision):
    assert isinstance(make(auxiliary=False).train()(torch.randn(1, 2, 32, 32)), torch.Tensor)


def test_a_local_file_of_the_librarys_own_weights_is_loaded(fake_torchvision, tmp_path):
    network, other = make(in_channels=3), make(in_channels=1)
    with torch.no_grad():
        for weight in network.network.parameters():
            weight.add_(1)
    torch.save(network.network.state_dict(), tmp_path / "w.pth")
    report = load_pretrained(other, tmp_path / "w.pth")
    assert (report.untouched, report.unused, report.mismatched) == ((), (), ())
    assert report.averaged == ("network.backbone.conv1.weight",)
    assert torch.equal(other.network.classifier.weight, network.network.classifier.weight)


def test_equal_channels_give_what_three_of_them_gave():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    grey = torch.randn(1, 1, 8, 8)
    before = network(grey.expand(-1, 3, -1, -1))
    first_conv_to(network, 5)
    torch.testing.assert_close(network(grey.expand(-1, 5, -1, -1)), before)
    assert network[0].in_channels == 5


def test_instances_are_painted_by_class():
    # two overlapping nodules of class 1, one vessel of class 2 that is not trusted
    masks = torch.tensor([[[[0.9, 0.5, 0.0]]], [[[0.0, 0.8, 0.0]]], [[[1.0, 1.0, 1.0]]]])
    found = {
        "labels": torch.tensor([1, 1, 2]),
        "scores": torch.tensor([1.0, 0.5, 0.2]),
        "masks": masks,
    }
    probs = paint(found, 3, (1, 3)).exp()
    expected = [[[0.1, 0.5, 0.8]], [[0.9, 0.5, 0.0]], [[0.2, 0.2, 0.2]]]
    torch.testing.assert_close(probs, torch.tensor(expected), atol=2e-6, rtol=0)


def test_an_image_without_instances_is_background():
    none = {
        "labels": torch.zeros(0, dtype=torch.int64),
        "scores": torch.zeros(0),
        "masks": torch.zeros(0, 1, 4, 5),
    }
    assert paint(none, 3, (4, 5)).argmax(0).eq(0).all()


def test_mask_rcnn_predicts_and_says_why_it_does_not_train(fake_torchvision):
    network = make("maskrcnn", box_score_thresh=0.3).eval()
    assert fake_torchvision["box_score_thresh"] == 0.3
    assert fake_torchvision["image_mean"] == [0.0, 0.0]
    logits = network(torch.randn(2, 2, 5, 7))
    assert logits.shape == (2, 3, 5, 7)
    assert logits[0].argmax(0)[:, 0].tolist() == [1, 1, 2, 0, 0]
    with pytest.raises(ConfigError, match="only predicts"):
        network.train()(torch.randn(2, 2, 5, 7))


@pytest.mark.parametrize("name", ["fcn", "maskrcnn"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ndim": 3}, "exists in 2-D alone"),
        ({"weights_backbone": "DEFAULT"}, "weights_backbone would be downloaded"),
    ],
)
def test_what_does_not_fit_is_told(fake_torchvision, name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        make(name, **arguments)


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r"'tv:fcn' needs.*medseg\[tv\]") as told:
        make("fcn")
    assert "\n" not in str(told.value)


def test_a_torchvision_of_another_torch_is_told(monkeypatch, tmp_path):
    (tmp_path / "torchvision").mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    (tmp_path / "torchvision" / "__init__.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(MissingExtraError, match=r"does not import \(operator torchvision::nms"):
        make("fcn")


@pytest.mark.parametrize("name", FORMS)
def test_the_real_library(name):
    pytest.importorskip("torchvision.models.segmentation", exc_type=ImportError)
    network = make(name).train()
    assert isinstance(network(torch.randn(1, 2, 70, 65)), Prediction) == FORMS[name].auxiliary
    assert network.eval()(torch.randn(1, 2, 70, 65)).shape == (1, 3, 70, 65)


def test_the_real_mask_rcnn():
    pytest.importorskip("torchvision.models.detection", exc_type=ImportError)
    network = make("maskrcnn", min_size=64).eval()
    assert network(torch.randn(1, 2, 70, 65)).shape == (1, 3, 70, 65)
