from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks import enet, mirror
from medseg.networks.deconvnet import DeconvNet
from medseg.networks.enet import ENet
from medseg.networks.segnet import SegNet
from medseg.networks.unpooling import make_upsampling, max_pool, unpool

THEIRS = {
    2: (functional.max_pool2d, functional.max_unpool2d),
    3: (functional.max_pool3d, functional.max_unpool3d),
}


def test_a_pool_worked_by_hand_and_back():
    x = torch.tensor([[[[1.0, 4.0, 2.0, 2.0], [3.0, 0.0, 1.0, 9.0]]]])
    values, places = max_pool(x, (2, 2))
    assert values.tolist() == [[[[4.0, 9.0]]]]
    assert places.tolist() == [[[[1, 3]]]]
    assert unpool(values, places, (2, 2)).tolist() == [
        [[[0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]]]
    ]


def test_of_equal_values_the_first_is_taken():
    _, places = max_pool(torch.zeros(1, 1, 2, 4), (2, 2))
    assert places.tolist() == [[[[0, 0]]]]


@pytest.mark.parametrize("window", [(2, 2), (1, 2), (3, 2), (2, 2, 2), (1, 2, 2), (2, 1, 3)])
def test_equals_torch_at_any_window(window):
    pool, back = THEIRS[len(window)]
    generator = torch.Generator().manual_seed(0)
    sizes = [w * n for w, n in zip(window, (3, 4, 2), strict=False)]
    x = torch.randn(2, 3, *sizes, generator=generator)
    expected, indices = pool(x, window, window, return_indices=True)
    values, places = max_pool(x, window)
    assert torch.equal(values, expected)
    assert torch.equal(unpool(2 * values, places, window), back(2 * expected, indices, window))


@pytest.mark.parametrize("window", [(2, 2), (1, 2, 2)])
def test_gradient_goes_to_the_place_alone(window):
    x = torch.randn(1, 1, *(4,) * len(window), requires_grad=True)
    values, places = max_pool(x, window)
    unpool(values, places, window).sum().backward()
    assert torch.equal(x.grad, unpool(torch.ones_like(values), places, window))


@pytest.mark.parametrize("mode", ["resize", "transposed"])
@pytest.mark.parametrize(("step", "kernel"), [((2, 3), (3, 5)), ((1, 2, 2), (1, 3, 3))])
def test_upsampling_multiplies_the_size_and_both_modes_weigh_the_same(mode, step, kernel):
    ndim = len(step)
    layer = make_upsampling(mode, ndim, 2, 3, kernel=kernel, step=step, bias=True)
    out = layer(torch.randn(1, 2, *(3,) * ndim))
    assert out.shape == (1, 3, *(3 * s for s in step))
    assert sum(p.numel() for p in layer.parameters()) == 6 * torch.tensor(kernel).prod() + 3


def test_resizing_leaves_no_checkerboard():
    layer = make_upsampling("resize", 2, 1, 1, kernel=(3, 3), step=(2, 2), bias=False)
    out = layer(torch.ones(1, 1, 6, 6))[..., 1:-1, 1:-1]
    torch.testing.assert_close(out, out[..., :1, :1].expand_as(out))


def test_an_unknown_way_to_upsample_is_explained():
    with pytest.raises(ConfigError, match="did you mean 'resize'"):
        make_upsampling("resizes", 2, 1, 1, kernel=(3, 3), step=(2, 2), bias=False)


SMALL = {
    DeconvNet: (mirror, {"widths": (8, 8), "dense_width": 8, "dense_kernel": 2}),
    ENet: (enet, {"widths": (32, 32), "regular": 1, "repeats": 1, "dilations": (1, 2)}),
    SegNet: (mirror, {"widths": (8, 16)}),
}


@pytest.mark.parametrize("build", SMALL)
@pytest.mark.parametrize("ndim", [2, 3])
def test_bfloat16_is_near_float32_when_the_places_are_held_fast(monkeypatch, build, ndim):
    module, arguments = SMALL[build]
    torch.manual_seed(0)
    network: nn.Module = build(ndim=ndim, in_channels=2, num_classes=3, **arguments).eval()
    image = torch.randn(2, 2, *(16,) * ndim)
    kept: list[torch.Tensor] = []

    def record(x, window):
        values, places = max_pool(x, window)
        kept.append(places)
        return values, places

    def replay(x, window):
        places = kept.pop(0)
        mask = unpool(torch.ones_like(places, dtype=x.dtype), places, window)
        values, _ = max_pool(torch.where(mask > 0, x, -torch.inf), window)
        return values, places

    with torch.no_grad():
        monkeypatch.setattr(module, "max_pool", record)
        exact = network(image)
        monkeypatch.setattr(module, "max_pool", replay)
        with torch.autocast("cpu", torch.bfloat16):
            near = network(image)
    assert not kept
    assert (near.float() - exact).norm() < 0.05 * exact.norm()
