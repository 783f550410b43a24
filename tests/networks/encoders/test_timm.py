"""Encoders of timm.

timm needs torchvision, which does not import beside the torch of our CI, so ``fake_timm`` stands in
for it: ``create_model(..., features_only=True)`` of the documented signature, whose model has
``feature_info.channels()`` and ``.reduction()`` and returns a list of maps. The last test runs
where the real one is.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError, MissingExtraError
from medseg.networks import Prediction, build_network
from medseg.networks.encoders import build_encoder
from medseg.networks.pretrained import load_pretrained


class FakeInfo:
    def __init__(self, channels: list[int], reduction: list[int]) -> None:
        self._channels, self._reduction = channels, reduction

    def channels(self) -> list[int]:
        return self._channels

    def reduction(self) -> list[int]:
        return self._reduction


class FakeFeatures(nn.Module):
    """A strided convolution per map; with ``NHWC`` the channels come last, as in Swin."""

    def __init__(self, in_chans: int, reduction: list[int], output_fmt: str) -> None:
        super().__init__()
        channels = [4 * (i + 1) for i in range(len(reduction))]
        self.feature_info, self.output_fmt = FakeInfo(channels, reduction), output_fmt
        self.convs = nn.ModuleList(
            nn.Conv2d(in_chans, c, r, r) for c, r in zip(channels, reduction, strict=True)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = [conv(x) for conv in self.convs]
        return [m.permute(0, 2, 3, 1) for m in maps] if self.output_fmt == "NHWC" else maps


@pytest.fixture
def fake_timm(monkeypatch):
    asked = {}

    def create_model(model_name, pretrained=False, features_only=False, in_chans=3, **kwargs):
        asked.clear()
        asked.update(pretrained=pretrained, features_only=features_only, **kwargs)
        if model_name == "resnet18" and not kwargs.keys() & {"dynamic_img_size", "strict_img_size"}:
            return FakeFeatures(in_chans, [2, 4, 8, 16, 32], "NCHW")
        if model_name == "swin_tiny":
            if kwargs.pop("strict_img_size", True):
                raise TypeError("no such argument: dynamic_img_size")
            return FakeFeatures(in_chans, [4, 8, 16, 32], "NHWC")
        if kwargs.keys() & {"dynamic_img_size", "strict_img_size"}:
            raise TypeError("got an unexpected keyword argument")
        if model_name == "vgg11":
            return FakeFeatures(in_chans, [1, 2, 4, 8], "NCHW")
        raise RuntimeError(f"Unknown model ({model_name})")

    module = ModuleType("timm")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny"])
def test_maps_have_the_channels_and_strides_they_are_said_to_have(fake_timm, name):
    encoder = build_encoder(f"timm:{name}", ndim=2, in_channels=2)
    any_size = {"strict_img_size": False} if name == "swin_tiny" else {}
    assert fake_timm == {"pretrained": False, "features_only": True, **any_size}
    assert encoder.divisor == (32, 32)
    maps = encoder(torch.randn(2, 2, 64, 32))
    assert [s[0] for s in encoder.strides] == [2, 4, 8, 16, 32]
    for x, channels, stride in zip(maps, encoder.channels, encoder.strides, strict=True):
        assert x.shape == (2, channels, 64 // stride[0], 32 // stride[1])


@pytest.mark.parametrize("network", ["encoder_unet", "semantic_fpn", "upernet"])
@pytest.mark.parametrize("name", ["resnet18", "swin_tiny"])
def test_our_decoders_take_them(fake_timm, network, name):
    arguments = {"ndim": 2, "in_channels": 1, "num_classes": 3, "encoder": f"timm:{name}"}
    net = build_network(NetworkSpec(name=network, arguments=arguments))
    out = net.train()(torch.randn(2, 1, 33, 40))
    logits = out.logits if isinstance(out, Prediction) else out
    assert logits.shape == (2, 3, 33, 40)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in net.encoder.network.convs[1].parameters())


def test_an_output_stride_is_handed_on(fake_timm):
    build_encoder("timm:resnet18", ndim=2, in_channels=2, output_stride=8)
    assert fake_timm["output_stride"] == 8


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("resnet18", {"ndim": 3}, r"'timm:resnet18' exists in 2-D alone"),
        ("resnet18", {"width": 0.5}, "width and norm are not for 'timm:resnet18'"),
        ("resnet18", {"norm": "instance"}, "take a smaller model of timm"),
        ("resnet18", {"pretrained": True}, "would download its weights"),
        ("resnet19", {}, r"'timm:resnet19': Unknown model"),
    ],
)
def test_what_does_not_fit_is_told(fake_timm, name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        build_encoder(f"timm:{name}", **{"ndim": 2, "in_channels": 1, **arguments})


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"timm:resnet18' needs.*medseg\[timm\]") as told:
        build_encoder("timm:resnet18", ndim=2, in_channels=1)
    assert "\n" not in str(told.value)


def test_a_map_at_full_resolution_is_left_out(fake_timm):
    encoder = build_encoder("timm:vgg11", ndim=2, in_channels=1)
    assert [s[0] for s in encoder.strides] == [2, 4, 8]
    assert [x.shape[2] for x in encoder(torch.randn(1, 1, 16, 16))] == [8, 4, 2]


def test_a_size_that_a_model_does_not_take_is_told(fake_timm):
    encoder = build_encoder("timm:resnet18", ndim=2, in_channels=1)

    def refuse(*_):
        raise AssertionError("Input height (64) doesn't match model (224).")

    encoder.network.register_forward_pre_hook(refuse)
    with pytest.raises(ConfigError, match=r"does not take an image of 64 x 32 \(Input height"):
        encoder(torch.zeros(1, 1, 64, 32))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "convnext_atto",
        "mobilenetv3_small_050",
        "densenet121",
        "vgg11_bn",
        "swin_tiny_patch4_window7_224",
        "vit_tiny_patch16_224",
        "pvt_v2_b0",
        "efficientnet_b0",
    ],
)
def test_the_real_library(name, tmp_path):
    timm = pytest.importorskip("timm", exc_type=ImportError)
    encoder = build_encoder(f"timm:{name}", ndim=2, in_channels=2)
    torch.save(timm.create_model(name).state_dict(), tmp_path / "published.pth")
    report = load_pretrained(encoder, tmp_path / "published.pth")
    assert all(name.startswith("stem.") for name in report.untouched)  # our own convolution
    assert report.mismatched == ()
    assert len(report.averaged) == 1  # two channels, not three
    maps = encoder(torch.randn(2, 2, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (c, 64 // s[0], 96 // s[1]) for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]
