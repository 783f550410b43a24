from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.encoders import build_encoder
from medseg.networks.pretrained import load_pretrained
from medseg.networks.pspnet import PSPNet
from medseg.networks.segformer import SegFormer


class Basic(nn.Module):
    """The basic block under torchvision's names."""

    def __init__(self, given, made, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class ResNet18(nn.Module):
    """ResNet-18 an eighth as wide, under torchvision's names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1))
        self.layer2 = nn.Sequential(Basic(8, 16, 2), Basic(16, 16, 1))
        self.layer3 = nn.Sequential(Basic(16, 32, 2), Basic(32, 32, 1))
        self.layer4 = nn.Sequential(Basic(32, 64, 2), Basic(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    torch.manual_seed(0)
    network = ResNet18().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(network.state_dict(), path)
    return network, path


def encoder(ndim=2, in_channels=3, **more):
    options = {"ndim": ndim, "in_channels": in_channels, "width": 0.125, **more}
    return build_encoder("resnet18", **options).eval()


def test_a_resnet_gives_what_it_gave(resnet):
    theirs, path = resnet
    ours = encoder()
    report = load_pretrained(ours, path)
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(image)[-1], theirs(image), atol=1e-5, rtol=1e-4)
    assert not report.untouched
    assert not report.mismatched
    assert report.unused == ("fc.weight", "fc.bias")
    assert "2 unused: fc.weight, fc.bias" in str(report)


def test_in_3d_slices_that_are_alike_give_what_one_gave(resnet):
    theirs, path = resnet
    flat = {"strides": ((1, 2, 2),) * 5}
    ours = encoder(3, **flat)
    with pytest.raises(ConfigError, match="ask for inflation"):
        load_pretrained(ours, path)
    report = load_pretrained(ours, path, inflate=True)
    assert "stem.0.0.weight" in report.inflated
    image = torch.randn(1, 3, 64, 64)
    volume = image[:, :, None].expand(-1, -1, 41, -1, -1)  # wider than what the borders reach
    torch.testing.assert_close(ours(volume)[-1][:, :, 20], theirs(image), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels_share_the_first_kernel(resnet, channels):
    theirs, path = resnet
    ours = encoder(in_channels=channels)
    report = load_pretrained(ours, path)
    assert report.averaged == ("stem.0.0.weight",)
    grey = torch.randn(1, 1, 64, 64)
    wanted = theirs(grey.expand(-1, 3, -1, -1))
    got = ours(grey.expand(-1, channels, -1, -1))[-1]
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)


def test_the_encoder_of_a_network_is_found_and_its_heads_are_named(resnet):
    _, path = resnet
    network = PSPNet(ndim=2, in_channels=3, num_classes=2, encoder="resnet18", width=0.125)
    report = load_pretrained(network, path)
    assert all(name.startswith("encoder.") for name in report.loaded)
    assert any(name.startswith("head.") for name in report.untouched)
    assert not any(name.startswith("encoder.") for name in report.untouched)


@pytest.mark.parametrize("norm", [False, True])
def test_vgg16_gives_what_it_gave(tmp_path, norm):
    torch.manual_seed(0)
    layers, channels = [], 3
    for width, count in zip((4, 8, 16, 32, 32), (2, 2, 3, 3, 3), strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if norm else []
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2))
    theirs = nn.ModuleDict({"features": nn.Sequential(*layers)}).eval()
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.0)
    state = theirs.state_dict()
    save_file(state, tmp_path / "vgg.safetensors")
    name = "vgg16_bn" if norm else "vgg16"
    ours = build_encoder(name, ndim=2, in_channels=3, width=0.0625).eval()
    report = load_pretrained(ours, tmp_path / "vgg.safetensors")
    assert not report.untouched
    assert not report.unused  # a bias before a norm, which ours has not, goes into its mean
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(image)[-1], theirs["features"](image), atol=1e-5, rtol=1e-4)


def test_densenet_names_find_their_places(tmp_path):
    ours = build_encoder("densenet121", ndim=2, in_channels=3, width=0.0625)
    layer = "features.denseblock2.denselayer12"
    value = torch.rand_like(ours.state_dict()["blocks.1.11.5.weight"])
    norm = torch.rand_like(ours.state_dict()["norms.3.0.weight"])
    save_file(
        {f"{layer}.conv2.weight": value, "features.norm5.weight": norm}, tmp_path / "d.safetensors"
    )
    report = load_pretrained(ours, tmp_path / "d.safetensors")
    assert set(report.loaded) == {"blocks.1.11.5.weight", "norms.3.0.weight"}
    assert torch.equal(ours.blocks[1][11][5].weight, value)


def test_segformer_of_hugging_face_gives_what_it_gave(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_labels=5, depths=[2, 1, 1, 1], hidden_sizes=[8, 16, 20, 32], decoder_hidden_size=24
    )
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = SegFormer(
        ndim=2,
        in_channels=3,
        num_classes=5,
        widths=(8, 16, 20, 32),
        depths=(2, 1, 1, 1),
        decoder_channels=24,
    ).eval()
    report = load_pretrained(ours, tmp_path / "model.safetensors")
    assert not report.untouched
    assert not report.unused
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = nn.functional.interpolate(theirs(image).logits, (64, 64), mode="bilinear")
        torch.testing.assert_close(ours(image), wanted, atol=1e-4, rtol=1e-3)


def test_what_does_not_fit_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"stages.0.0.layers.0.0.weight": torch.zeros(2, 2, 3, 3)}, path)
    report = load_pretrained(encoder(), path)
    assert report.mismatched == ("stages.0.0.layers.0.0.weight",)
    assert not report.loaded
    save_file({"who.knows": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match=r"none of its 1 tensors \(such as 'who.knows'\)"):
        load_pretrained(encoder(), path)
    for damaged in (tmp_path / "bad.pth", tmp_path / "bad.safetensors"):
        damaged.write_bytes(b"nothing")
        with pytest.raises(ConfigError, match="cannot be read"):
            load_pretrained(encoder(), damaged)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pretrained(encoder(), tmp_path / "absent.safetensors")
