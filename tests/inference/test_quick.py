from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.inference.ensemble import Ensemble
from medseg.inference.predictor import Predictor
from medseg.inference.quick import quickened
from medseg.inference.window import WindowSettings
from medseg.networks.unet import UNet
from tests.inference.toys import Threshold, make_plan

LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def unet(ndim, **changes):
    """A net whose norms have seen something."""
    torch.manual_seed(0)
    network = UNet(ndim=ndim, in_channels=1, num_classes=3, widths=(8, 12), **changes)
    for norm in network.modules():
        if isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.2, 3)
    return network.eval()


def image(ndim, batch=2):
    return torch.randn(batch, 1, *(8, 12, 10)[:ndim], generator=torch.Generator().manual_seed(0))


def test_a_batch_norm_is_folded_by_hand():
    """The output (2 x - 3) / 2 * 5 + 1 is that of a weight of 5 and a bias of -6.5."""
    layers = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0)).eval()
    layers[0].weight.data.fill_(2)
    norm = layers[1]
    norm.running_mean.fill_(3), norm.running_var.fill_(4)
    norm.weight.data.fill_(5), norm.bias.data.fill_(1)
    conv, nothing = quickened(layers, channels_last=False)
    assert (conv.weight.item(), conv.bias.item()) == (5, -6.5)
    assert isinstance(nothing, nn.Identity)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("residual", [False, True])
def test_logits_stay_as_they_were(ndim, norm, residual, last):
    network, x = unet(ndim, norm=norm, residual=residual), image(ndim)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network(x)
        found = quickened(network, channels_last=last)(x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(network(x), expected)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("ndim", [2, 3])
def test_instance_norm_leaves_channels_last(ndim):
    network = quickened(unet(ndim, norm="instance"), channels_last=True)
    seen = []
    for layer in network.modules():
        if isinstance(layer, nn.LeakyReLU):
            layer.register_forward_hook(lambda _, __, y: seen.append(y))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(image(ndim))
    assert len(seen) == 6
    assert all(y.is_contiguous(memory_format=LAST[ndim]) and not y.is_contiguous() for y in seen)


def test_no_batch_norm_is_folded_where_the_order_of_calls_is_not_known():
    class Backwards(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    network = Backwards(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    assert isinstance(quickened(network, channels_last=True)[1], nn.BatchNorm2d)
    apart = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1)).eval()
    assert isinstance(quickened(apart, channels_last=True)[2], nn.BatchNorm2d)
    own = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False)).eval()
    assert isinstance(quickened(own, channels_last=True)[1], nn.BatchNorm2d)


def test_instance_norm_works_in_place_behind_a_convolution_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.InstanceNorm2d(3, affine=True))
    between = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.InstanceNorm2d(3))
    x = torch.randn(2, 3, 5, 4).to(memory_format=LAST[2])
    for layers, same in ((network, True), (between, False)):
        norm = quickened(layers, channels_last=True)[-1]
        with torch.no_grad():
            given = x.clone()
            expected = layers[-1](x)
            found = norm(given)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert (found.data_ptr() == given.data_ptr()) == same
        assert torch.equal(given, x) != same


def test_instance_norm_with_stored_statistics_uses_them():
    norm = nn.InstanceNorm2d(3, track_running_stats=True).eval()
    norm.running_mean.fill_(1.0)
    x = torch.randn(2, 3, 4, 5).to(memory_format=LAST[2])
    with torch.no_grad():
        torch.testing.assert_close(quickened(norm, channels_last=True)(x), norm(x))


def test_one_voxel_is_an_error_as_in_torch():
    norm = quickened(nn.InstanceNorm3d(4), channels_last=True)
    with torch.no_grad(), pytest.raises(ValueError, match="more than 1 spatial element"):
        norm(torch.zeros(2, 4, 1, 1, 1))


def test_a_network_of_other_modules_is_handed_back():
    network = Threshold(ndim=3, in_channels=1, num_classes=2)
    assert quickened(network, channels_last=True) is network


def test_weights_are_shared_but_for_those_laid_out_anew():
    network = unet(3, norm="instance")
    quick = dict(quickened(network, channels_last=True).named_parameters())
    for name, value in network.named_parameters():
        assert (quick[name] is value) != (value.ndim == 5)


def test_an_ensemble_stays_one():
    members = [unet(2, norm="batch"), unet(2, norm="batch")]
    quick = quickened(Ensemble(members).eval(), channels_last=True)
    assert isinstance(quick, Ensemble)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())


@pytest.mark.parametrize(("precision", "last"), [("32-true", False), ("bf16-mixed", True)])
def test_a_predictor_lays_channels_last_where_it_computes_in_less(monkeypatch, precision, last):
    asked = []
    monkeypatch.setattr(
        "medseg.inference.predictor.quickened",
        lambda network, *, channels_last: asked.append(channels_last) or network,
    )
    plan = make_plan(spacing=(1.0, 1.0), patch_size=(4, 4))
    network = Threshold(ndim=2, in_channels=1, num_classes=2)
    Predictor(network, plan, WindowSettings(precision=precision))
    assert asked == [last]
