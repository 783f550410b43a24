"""Muon: orthogonal updates, AdamW for vectors, the size of a step, resuming."""

from __future__ import annotations

import pytest
import torch

from medseg.training import muon
from medseg.training.muon import Muon, orthogonalise


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """Compute as a device without bfloat16 does, so that bounds are tight."""
    monkeypatch.setattr(muon, "computes_bf16", lambda device: False)


def test_one_iteration_by_hand(monkeypatch):
    # diag(0.6, 0.8) has norm 1; one step maps s to 3.4445 s - 4.775 s^3 + 2.0315 s^5.
    monkeypatch.setattr(muon, "ITERATIONS", 1)
    turned = orthogonalise(torch.diag(torch.tensor([0.6, 0.8])))
    expected = [3.4445 * s - 4.775 * s**3 + 2.0315 * s**5 for s in (0.6, 0.8)]
    assert turned.diag().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_singular_vectors_stay_and_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float32)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalise(matrix) @ right.T  # diagonal if the vectors are the same
    assert (inner - inner.diag().diag()).abs().max() < 1e-3
    large = values > 0.05 * values.max()
    assert inner.diag()[large].min() > 0.6
    assert inner.diag().max() < 1.3


def test_zero_gradient_leaves_a_weight_where_it_is():
    weight = torch.nn.Parameter(torch.ones(3, 4))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, torch.ones(3, 4))


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (8, 4, 3, 3, 3)])
def test_a_step_is_as_long_as_one_of_adamw(shape):
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(shape))
    weight.grad = 1e-6 * torch.randn(shape, generator=generator)  # its size does not matter
    Muon([weight], lr=0.01).step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_vectors_take_steps_of_adamw():
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(5, generator=generator)
    mine, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    ours = Muon([mine], lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for _ in range(5):
        mine.grad = torch.randn(5, generator=generator)
        theirs.grad = mine.grad.clone()
        ours.step()
        adamw.step()
    torch.testing.assert_close(mine, theirs)


def test_memory_format_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(4, 2, 3, 3, 3, generator=generator)
    grad = torch.randn(4, 2, 3, 3, 3, generator=generator)
    plain = torch.nn.Parameter(start.clone())
    last = torch.nn.Parameter(start.clone(memory_format=torch.channels_last_3d))
    plain.grad = grad.clone()
    last.grad = grad.clone(memory_format=torch.channels_last_3d)
    Muon([plain], lr=0.1).step()
    Muon([last], lr=0.1).step()
    torch.testing.assert_close(plain, last)


def test_resumed_from_its_state_it_goes_on_alike():
    generator = torch.Generator().manual_seed(4)
    weight, bias = torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)
    grads = [
        (torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator))
        for _ in range(4)
    ]

    def take(params, optimizer, some):
        for grad_pair in some:
            for param, grad in zip(params, grad_pair, strict=True):
                param.grad = grad.clone()
            optimizer.step()

    whole = [torch.nn.Parameter(weight.clone()), torch.nn.Parameter(bias.clone())]
    take(whole, Muon(whole, lr=0.1), grads)
    half = [torch.nn.Parameter(weight.clone()), torch.nn.Parameter(bias.clone())]
    first = Muon(half, lr=0.1)
    take(half, first, grads[:2])
    second = Muon(half, lr=0.1)
    second.load_state_dict(first.state_dict())
    take(half, second, grads[2:])
    for one, other in zip(whole, half, strict=True):
        assert torch.equal(one, other)
