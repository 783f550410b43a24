from __future__ import annotations

import pytest
import torch

from medseg.artefacts import NetworkSpec
from medseg.networks import build_network
from medseg.planning.capacity import capacity_of
from medseg.planning.network import network_arguments, topology_rule
from medseg.planning.topology import plan_topology


@pytest.mark.parametrize("name", ["unet", "vnet", "unetpp", "attention_unet", "resenc_unet"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("patch", "spacing"),
    [
        ((16, 24), (1, 1)),
        ((32, 32, 8), (1, 1, 4)),
        ((40, 56, 40), (1, 1, 1)),
        ((5, 5, 5), (1, 1, 1)),
    ],
)
def test_planned_networks_can_be_built_and_fit_the_patch(name, device, patch, spacing):
    least = 2 if name == "unetpp" else 1  # nested nodes need a level below them
    topology = plan_topology(patch, spacing, max_levels=5, min_levels=least)
    arguments = network_arguments(
        name, topology, in_channels=2, num_classes=3, capacity=capacity_of(device), cases=9
    )
    with torch.device("meta"):
        network = build_network(NetworkSpec(name=name, arguments=arguments)).eval()
        assert tuple(network.divisor) == topology.divisor
        out = network(torch.zeros(1, 2, *topology.patch_size))
    assert out.shape == (1, 3, *topology.patch_size)


def test_the_number_of_widths_is_the_number_of_levels():
    rule = topology_rule((1, 1), {"widths": (4, 8, 16, 32)}, capacity_of("cpu"), exact=False)
    assert len(rule((64, 64)).strides) == 4
    assert len(rule((8, 8)).strides) == 4


def test_given_strides_decide_the_divisor():
    rule = topology_rule((1, 1), {"strides": (1, (2, 1), 2)}, capacity_of("cpu"), exact=False)
    assert rule((30, 31)).divisor == (4, 2)
    assert rule((30, 31)).patch_size == (32, 32)


def test_a_network_without_a_rule_gets_the_bare_facts():
    topology = plan_topology((32, 32), (1, 1))
    arguments = network_arguments(
        "segnet", topology, in_channels=3, num_classes=12, capacity=capacity_of("cpu"), cases=9
    )
    assert arguments == {"ndim": 2, "in_channels": 3, "num_classes": 12}


@pytest.mark.parametrize(
    ("device", "cases", "norm"),
    [("cpu", 7, "instance"), ("cpu", 8, "batch"), ("cuda", 7, "instance"), ("cuda", 8, "instance")],
)
def test_few_cases_are_normalised_one_by_one(device, cases, norm):
    topology = plan_topology((32, 32), (1, 1))
    arguments = network_arguments(
        "unet", topology, in_channels=1, num_classes=2, capacity=capacity_of(device), cases=cases
    )
    assert arguments["norm"] == norm
