from __future__ import annotations

import pytest
import torch
from monai.networks.nets import AttentionUnet
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks.attention_unet import AttentionGate, AttentionUNet

MONAI_FORM = {
    "gating": "fine",
    "gate_finest": True,
    "gate_norm": "batch",
    "decoder_convs": 1,
    "deep_supervision": False,
}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_count_of_the_reference_form():
    with torch.device("meta"):
        ours = AttentionUNet(ndim=3, in_channels=1, num_classes=2, **MONAI_FORM)
    assert round(count(ours) / 1e6, 2) == 5.91


@pytest.mark.parametrize("ndim", [2, 3])
def test_parameters_equal_those_of_monai_but_for_biases_and_the_merging_norm(ndim):
    widths = (16, 32, 64, 128, 256)
    with torch.device("meta"):
        ours = AttentionUNet(ndim=ndim, in_channels=1, num_classes=2, **MONAI_FORM)
        theirs = AttentionUnet(ndim, 1, 2, widths, (2, 2, 2, 2))
    fine = sum(widths[:-1])  # channels of the decoder levels; a gate has half of them inside
    biases = 2 * sum(widths) + fine + fine + 2 * fine // 2 + 4  # encoder, up, merge, gates
    assert count(theirs) - count(ours) == biases - 2 * fine + 4  # norm and PReLU of the merge


@pytest.mark.parametrize("ndim", [2, 3])
def test_gate_equals_monais_when_both_signals_share_a_grid(ndim):
    torch.manual_seed(0)
    theirs = AttentionBlock(ndim, f_int=2, f_g=6, f_l=4).eval()
    ours = AttentionGate(ndim, 4, 6, step=(1,) * ndim, norm="batch").eval()
    pairs = ((ours.w_x, theirs.W_x), (ours.w_g, theirs.W_g), (ours.psi, theirs.psi))
    for mine, other in pairs:
        mine[0].weight.data.copy_(other[0].conv.weight)
        mine[1].bias.data.normal_()
        other[1].bias.data.copy_(mine[1].bias)
        other[0].conv.bias.data.zero_()  # ours has none before a norm
    skip, gating = torch.randn(2, 4, *(5,) * ndim), torch.randn(2, 6, *(5,) * ndim)
    torch.testing.assert_close(ours(skip, gating), theirs(g=gating, x=skip))


def test_gate_on_a_coarser_signal_written_out():
    torch.manual_seed(0)
    gate = AttentionGate(3, 2, 3, step=(1, 2, 2))
    skip, signal = torch.randn(1, 2, 3, 4, 6), torch.randn(1, 3, 3, 2, 3)
    inner = torch.einsum("oi,bixyz->boxyz", gate.w_x[0].weight[..., 0, 0, 0], skip[..., ::2, ::2])
    inner = inner + torch.einsum("oi,bixyz->boxyz", gate.w_g[0].weight[..., 0, 0, 0], signal)
    inner = (inner + gate.w_g[0].bias[:, None, None, None]).relu()
    weight = torch.einsum("oi,bixyz->boxyz", gate.psi[0].weight[..., 0, 0, 0], inner)
    weight = torch.sigmoid(weight + gate.psi[0].bias[:, None, None, None])
    weight = functional.interpolate(weight, size=(3, 4, 6), mode="trilinear")
    torch.testing.assert_close(gate(skip, signal), skip * weight)


def test_a_shut_gate_hides_the_skip():
    network = AttentionUNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 4), gate_finest=True)
    gate = network.gates[0]
    nn.init.zeros_(gate.psi[0].weight)
    nn.init.constant_(gate.psi[0].bias, -100.0)
    skip = torch.rand(1, 4, 8, 8)
    assert gate(skip, torch.rand(1, 4, 4, 4)).abs().max() < 1e-12
    nn.init.constant_(gate.psi[0].bias, 100.0)
    assert torch.equal(gate(skip, torch.rand(1, 4, 4, 4)), skip)


def test_the_finest_skip_is_not_gated_and_every_decoder_level_is_supervised():
    network = AttentionUNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 4, 4, 4, 4))
    assert [isinstance(g, AttentionGate) for g in network.gates] == [False, True, True, True]
    out = network(torch.rand(1, 1, 32, 48))
    assert [tuple(aux.shape[2:]) for aux in out.aux] == [(16, 24), (8, 12), (4, 6)]


def test_arguments_that_do_not_fit_are_explained():
    with pytest.raises(ConfigError, match="did you mean 'coarse'"):
        AttentionUNet(ndim=2, in_channels=1, num_classes=2, gating="coarce")
