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
        asked.update(pretrained=pretrained, features_only=features_only, **kwargs)
        if model_name == "resnet18":
            return FakeFeatures(in_chans, [2, 4, 8, 16, 32], "NCHW")
        if model_name == "swin_tiny":
            return FakeFeatures(in_chans, [4, 8, 16, 32], "NHWC")
        raise RuntimeError(f"Unknown model ({model_name})")

    module = ModuleType("timm")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny"])
def test_maps_have_the_channels_and_strides_they_are_said_to_have(fake_timm, name):
    encoder = build_encoder(f"timm:{name}", ndim=2, in_channels=2)
    assert fake_timm == {"pretrained": False, "features_only": True}
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


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_the_real_library(name):
    pytest.importorskip("timm", exc_type=ImportError)
    encoder = build_encoder(f"timm:{name}", ndim=2, in_channels=2)
    maps = encoder(torch.randn(2, 2, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (c, 64 // s[0], 96 // s[1]) for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]
