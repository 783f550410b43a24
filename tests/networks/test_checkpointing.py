from __future__ import annotations

import copy

import pytest
import torch

from medseg.networks import NETWORKS
from medseg.networks.checkpointing import checkpoint_stages
from tests.networks.test_contract import make

FEW = {("unet", 3), ("pspnet", 2), ("setr_naive", 2), ("fc_densenet56", 2)}


def step(network, image):
    torch.manual_seed(7)
    out = network(image)
    logits = getattr(out, "logits", out)
    logits.square().mean().backward()
    return logits


@pytest.mark.parametrize(
    ("name", "ndim"),
    [
        pytest.param(name, ndim, marks=() if (name, ndim) in FEW else pytest.mark.matrix)
        for name in sorted(NETWORKS)
        for ndim in (2, 3)
    ],
)
def test_numbers_gradients_and_statistics_are_those_without(name, ndim):
    plain = make(name, ndim).train()
    saving = copy.deepcopy(plain)
    stages = checkpoint_stages(saving)
    assert len(stages) > 1
    assert not any(a != b and b.startswith(f"{a}.") for a in stages for b in stages)
    assert list(saving.state_dict()) == list(plain.state_dict())
    image = torch.randn(2, 2, *(16,) * ndim)
    torch.testing.assert_close(step(saving, image), step(plain, image))
    for (key, one), two in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if one.grad is None:
            assert two.grad is None
        else:
            torch.testing.assert_close(two.grad, one.grad, msg=key)
    for key, value in plain.state_dict().items():
        assert torch.equal(saving.state_dict()[key], value), key


def test_every_network_has_stages():
    with torch.device("meta"):
        none = [name for name in sorted(NETWORKS) if len(checkpoint_stages(make(name, 2))) < 2]
    assert none == []


def test_less_is_kept_for_the_backward_pass():
    kept = []
    for wrap in (False, True):
        network = make("unet", 2).train()
        if wrap:
            checkpoint_stages(network)
        total = 0

        def keep(x):
            nonlocal total
            total += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            network(torch.randn(2, 2, 32, 32))
        kept.append(total)
    assert kept[1] < 0.7 * kept[0]


def test_a_copy_has_its_own_weights():
    network = make("unet", 2).train()
    checkpoint_stages(network)
    other = copy.deepcopy(network)
    image = torch.randn(2, 2, 16, 16)
    before = other(image).logits
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(other(image).logits, before)


def test_a_network_without_stages_says_so():
    assert checkpoint_stages(torch.nn.Conv2d(1, 1, 1)) == ()
