from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.inference.ensemble import Ensemble, as_network
from medseg.inference.sliding import sliding_window


class Constant(nn.Module):
    """Answers one number everywhere, always from the same tensor."""

    def __init__(self, value):
        super().__init__()
        self.value = value
        self.register_buffer("answer", torch.full((1, 2, 4, 4), float(value)))

    def forward(self, image):
        return self.answer


def test_logits_are_averaged_not_probabilities():
    """4, -1 and 0 average to 1."""
    answer = Ensemble([Constant(4), Constant(-1), Constant(0)])(torch.zeros(1, 1, 4, 4))
    assert torch.equal(answer, torch.ones(1, 2, 4, 4))


def test_members_are_asked_again_and_keep_their_tensors():
    network = Ensemble([Constant(2), Constant(4)])
    for _ in range(2):
        assert torch.equal(network(torch.zeros(1, 1, 4, 4)), torch.full((1, 2, 4, 4), 3.0))


@pytest.mark.parametrize("ndim", [2, 3])
def test_one_pass_over_the_tiles_equals_the_mean_of_each_members_pass(ndim):
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    torch.manual_seed(0)
    members = [conv(1, 3, 3, padding=1) for _ in range(3)]
    image = torch.randn(1, *(9, 8, 7)[:ndim])
    kind = {"patch_size": (4,) * ndim, "mirror_axes": (0,)}
    alone = torch.stack([sliding_window(m, image, **kind) for m in members]).mean(0)
    torch.testing.assert_close(sliding_window(Ensemble(members), image, **kind), alone)


def test_members_of_half_precision_are_averaged_in_float32():
    members = [Constant(1), Constant(2)]
    assert Ensemble([m.to(torch.bfloat16) for m in members])(torch.zeros(1)).dtype == torch.float32


def test_one_network_stays_itself():
    network = nn.Identity()
    assert as_network(network) is network
    assert as_network([network]) is network
    assert isinstance(as_network(nn.ModuleList([network, nn.ReLU()])), Ensemble)
    chain = nn.Sequential(network)
    assert as_network(chain) is chain
    assert len(as_network((network, chain)).members) == 2


def test_no_network_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        as_network([])


@pytest.mark.parametrize("many", [False, True])
def test_each_network_is_shifted(many):
    networks = [nn.Tanh(), nn.ReLU()] if many else nn.Tanh()
    network = as_network(networks, 3)
    shifted = network.members if many else [network]
    assert [type(one).__name__ for one in shifted] == ["Shifted"] * len(shifted)
    image = torch.rand(1, 1, 6, 5)
    assert torch.allclose(network(image), as_network(networks)(image))
