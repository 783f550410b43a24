"""What is chosen from measured times; the times themselves come from a table."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from medseg.networks import build_network
from medseg.networks.layers import Affine
from medseg.training.fabric import make_fabric
from medseg.training.launch import train
from medseg.training.learner import build_learner
from medseg.training.schedule import Budget
from medseg.training.speed import Speed, fastest, lay_out, rule_of_thumb, step_timer
from medseg.training.task import Recipe
from tests.training.made import Recorder, make_task
from tests.training.test_loop import assert_same_outcome

PLAIN, LAST = Speed(channels_last=False), Speed(channels_last=True)
COMPILED = Speed(channels_last=False, compile=True)
HOURS = Budget(seconds=7200.0)


def recipe(budget=HOURS, **more) -> Recipe:
    return Recipe(budget=budget, batch_size=2, **{"precision": "bf16-mixed", **more})


def from_table(times):
    asked = []

    def timer(module, way):
        asked.append(way)
        if isinstance(times[way], Exception):
            raise times[way]
        return times[way]

    return timer, asked


@pytest.mark.parametrize(
    ("last", "compiled", "chosen"),
    [
        (1.2, 1.1, PLAIN),
        (0.97, 0.99, PLAIN),  # within the noise
        (1.2, 0.7, COMPILED),
        (0.8, 0.7, LAST),  # compiled is only tried contiguous when that is the faster layout
    ],
)
def test_a_trial_must_be_clearly_won(last, compiled, chosen):
    times = {PLAIN: 1.0, LAST: last, COMPILED: compiled, Speed(channels_last=True, compile=True): 1}
    timer, _ = from_table(times)
    assert fastest(nn.Conv3d(1, 1, 1), PLAIN, recipe(), timer) == chosen


@pytest.mark.parametrize("budget", [Budget(seconds=600.0), Budget(iterations=5000)])
def test_a_short_budget_is_not_spent_on_compiling(budget):
    timer, asked = from_table({PLAIN: 1.0, LAST: 1.0, COMPILED: 0.1})
    assert fastest(nn.Conv3d(1, 1, 1), PLAIN, recipe(budget), timer) == PLAIN
    assert COMPILED not in asked


def test_what_is_set_is_not_tried():
    times = {PLAIN: 1.0, LAST: 1.0, COMPILED: 0.1}
    timer, asked = from_table(times)
    module = nn.Conv3d(1, 1, 1)
    assert fastest(module, PLAIN, recipe(compile=False), timer) == PLAIN
    assert fastest(module, PLAIN, recipe(Budget(iterations=5), compile=True), timer) == COMPILED
    assert COMPILED not in asked
    timer, asked = from_table(times)
    fastest(module, PLAIN, recipe(precision="32-true", compile=False), timer)
    assert asked == [PLAIN]  # layouts differ in mixed precision alone


def test_a_compiler_that_fails_is_told_and_left(caplog):
    timer, _ = from_table({PLAIN: 1.0, LAST: 1.0, COMPILED: RuntimeError("no triton")})
    with caplog.at_level(logging.WARNING):
        assert fastest(nn.Conv3d(1, 1, 1), PLAIN, recipe(), timer) == PLAIN
    assert "no triton" in caplog.text


def test_rules_without_measuring():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    flat, volume = nn.Conv2d(1, 1, 1), nn.Conv3d(1, 1, 1)
    assert rule_of_thumb(flat, cuda, recipe()).channels_last
    assert not rule_of_thumb(volume, cuda, recipe()).channels_last
    assert rule_of_thumb(volume, cpu, recipe()).channels_last
    assert not rule_of_thumb(flat, cpu, recipe(precision="32-true")).channels_last
    assert Speed(channels_last=True).layout(3) == torch.channels_last_3d
    assert Speed(channels_last=True).layout(2) == torch.channels_last
    assert Speed(channels_last=False).layout(2) == torch.contiguous_format


def test_a_resumed_training_takes_what_was_chosen(tmp_path):
    task = make_task(tmp_path, precision="bf16-mixed")
    fabric = make_fabric("cpu", 1, task)
    assert build_learner(fabric, task).speed == LAST
    assert build_learner(fabric, task, PLAIN).speed == PLAIN


def test_a_trial_leaves_network_and_generator_as_they_were(tmp_path):
    task = make_task(tmp_path, network={"norm": "batch"})
    module = build_network(task.plan.network)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    assert step_timer(task, torch.device("cpu"))(module, LAST) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_a_compiled_network_shares_its_weights_with_the_one_that_is_kept(tmp_path, monkeypatch):
    """By a compiler that changes nothing, so that both trainings are equal."""
    real, compiled = torch.compile, []

    def compile_eagerly(module, **options):
        compiled.append(module)
        return real(module, **{**options, "backend": "eager"})

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    plain = make_task(tmp_path / "plain", compile=False, ema="auto")
    faster = make_task(tmp_path / "faster", compile=True, ema="auto")
    for task in (plain, faster):
        train(task, Recorder())
    assert compiled
    assert_same_outcome(plain, faster)


@pytest.mark.parametrize(("ndim", "last"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
def test_kernels_are_laid_out_and_a_factor_per_channel_is_left_alone(ndim, last):
    # the factor has four axes in 3-D, of which ``module.to(memory_format=...)`` wants five
    conv = (nn.Conv2d, nn.Conv3d)[ndim - 2](4, 6, 3)
    network = nn.Sequential(conv, Affine(ndim, 6))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lay_out(network, LAST)
    assert conv.weight.is_contiguous(memory_format=last)
    assert not conv.weight.is_contiguous()
    assert network[1].weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    lay_out(network, PLAIN)
    assert conv.weight.is_contiguous()
