"""Groups of parameters: weight decay and learning rates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.training.learner import build_optimizer, parameter_groups
from medseg.training.schedule import Budget
from medseg.training.task import Recipe


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Conv2d(2, 3, 1)


def recipe(**more):
    return Recipe(budget=Budget(iterations=1), batch_size=1, weight_decay=0.1, **more)


def test_norms_and_biases_do_not_decay():
    net = Net()
    decayed, others = parameter_groups(net, recipe())
    assert {id(p) for p in decayed["params"]} == {id(net.encoder[0].weight), id(net.head.weight)}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(others["params"]) == 4
    assert decayed["lr_share"] == others["lr_share"] == 1.0


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_the_encoder_has_its_own_rate(optimizer):
    net = Net()
    built = build_optimizer(net, recipe(encoder_lr=0.1, optimizer=optimizer, momentum=0.8))
    share = {id(p): group["lr_share"] for group in built.param_groups for p in group["params"]}
    assert len(share) == len(list(net.parameters()))
    assert {share[id(p)] for p in net.encoder.parameters()} == {0.1}
    assert {share[id(p)] for p in net.head.parameters()} == {1.0}
    assert optimizer == "adamw" or {g["momentum"] for g in built.param_groups} == {0.8}


def test_a_network_without_encoder_says_so():
    with pytest.raises(ConfigError, match=r"encoder_lr.*no part named 'encoder'"):
        parameter_groups(nn.Linear(2, 2), recipe(encoder_lr=0.1))


def test_sgd_keeps_its_usual_momentum():
    built = build_optimizer(Net(), recipe(optimizer="sgd"))
    assert isinstance(built, torch.optim.SGD)
    assert {group["momentum"] for group in built.param_groups} == {0.99}
