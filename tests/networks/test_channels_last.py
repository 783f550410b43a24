from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medseg.networks.blocks import Block
from medseg.networks.channels_last import (
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm2d,
    InstanceNorm3d,
    Tiles2d,
    Tiles3d,
    channels_last_on_cpu,
    pooled_conv,
)

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def laid_out(shape: tuple[int, ...]) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1
    return x.to(memory_format=LAST[len(shape)]).requires_grad_()


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradients, and what the layer remembers."""
    out = layer(x)
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    grads = torch.autograd.grad((out * weights).sum(), [x, *layer.parameters()])
    return [out, *grads, *(b for b in layer.buffers() if b.is_floating_point())]


def assert_equal_to(peer: nn.Module, ours: nn.Module, x: Tensor) -> None:
    peer.load_state_dict(ours.state_dict())
    assert channels_last_on_cpu(x)
    for a, b in zip(results(ours, x), results(peer, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert channels_last_on_cpu(ours(x))


@pytest.mark.parametrize(
    ("ours", "peer", "shape"),
    [
        (BatchNorm2d(5), nn.BatchNorm2d(5), (2, 5, 4, 6)),
        (BatchNorm3d(12), nn.BatchNorm3d(12), (3, 12, 4, 2, 6)),
        (BatchNorm3d(3), nn.BatchNorm3d(3), (1, 3, 3, 5, 7)),  # 105 voxels: torch's own way
        (BatchNorm2d(40), nn.BatchNorm2d(40), (2, 40, 4, 4)),  # wide: likewise
    ],
)
def test_batch_normalisation_equals_torch(ours, peer, shape):
    nn.init.uniform_(ours.weight, 0.5, 2)
    nn.init.uniform_(ours.bias, -1, 1)
    assert_equal_to(peer, ours, laid_out(shape))


def test_batch_normalisation_of_a_large_offset_is_no_less_exact_than_torch():
    x = (laid_out((2, 4, 8, 8, 8)).detach() + 300).contiguous(memory_format=LAST[5])
    exact = nn.BatchNorm3d(4).double()(x.double())
    ours, theirs = ((layer(x) - exact).abs().max() for layer in (BatchNorm3d(4), nn.BatchNorm3d(4)))
    assert ours < max(theirs, 5e-5)


def test_batch_normalisation_in_half_precision_equals_torch():
    x = laid_out((2, 12, 8, 8, 8)).detach().bfloat16().requires_grad_()
    assert channels_last_on_cpu(x)
    for a, b in zip(results(BatchNorm3d(12), x), results(nn.BatchNorm3d(12), x), strict=True):
        torch.testing.assert_close(a, b, rtol=2**-7, atol=1e-3)


def test_an_activation_in_place_may_follow():
    x, layer = laid_out((2, 4, 4, 4)), BatchNorm2d(4)
    both = nn.Sequential(layer, nn.LeakyReLU(0.1, inplace=True))
    assert_equal_to(nn.Sequential(nn.BatchNorm2d(4), nn.LeakyReLU(0.1)), both, x)


def test_batch_normalisation_needs_no_spread():
    x = torch.full((1, 4, 4, 4), 2.0).to(memory_format=torch.channels_last)
    assert BatchNorm2d(4)(x).abs().max() == 0


@pytest.mark.parametrize(
    ("ours", "peer", "shape"),
    [
        (InstanceNorm2d, nn.InstanceNorm2d, (3, 5, 4, 6)),
        (InstanceNorm3d, nn.InstanceNorm3d, (2, 12, 4, 2, 6)),
        (InstanceNorm3d, nn.InstanceNorm3d, (2, 3, 3, 5, 7)),  # 105 voxels do not fold
        (InstanceNorm2d, nn.InstanceNorm2d, (2, 40, 4, 4)),  # wide
    ],
)
def test_instance_normalisation_equals_torch(ours, peer, shape):
    ours, peer = (kind(shape[1], affine=True) for kind in (ours, peer))
    nn.init.uniform_(ours.weight, 0.5, 2)
    nn.init.uniform_(ours.bias, -1, 1)
    assert_equal_to(peer, ours, laid_out(shape))


def test_instance_normalisation_in_half_precision_equals_torch():
    x = laid_out((2, 12, 8, 8, 8)).detach().bfloat16().requires_grad_()
    ours, peer = (kind(12, affine=True) for kind in (InstanceNorm3d, nn.InstanceNorm3d))
    for a, b in zip(results(ours, x), results(peer, x), strict=True):
        torch.testing.assert_close(a, b, rtol=2**-7, atol=2e-2)


@pytest.mark.parametrize("last", [True, False])
def test_tiles_in_half_precision_equal_torch(last):
    x = laid_out((2, 4, 3, 4, 5)).detach().bfloat16()
    x = (x if last else x.contiguous()).requires_grad_()
    ours, peer = (k(4, 3, 2, 2).bfloat16() for k in (Tiles3d, nn.ConvTranspose3d))
    peer.load_state_dict(ours.state_dict())
    for a, b in zip(results(ours, x), results(peer, x), strict=True):
        torch.testing.assert_close(a, b, rtol=2**-5, atol=0.15)


@pytest.mark.parametrize(
    ("ours", "peer", "step", "shape"),
    [
        (Tiles2d, nn.ConvTranspose2d, (2, 3), (2, 4, 3, 5)),
        (Tiles3d, nn.ConvTranspose3d, (1, 2, 2), (2, 4, 3, 2, 5)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_tiles_are_a_transposed_convolution(ours, peer, step, shape, bias):
    ours, peer = (kind(4, 3, step, step, bias=bias) for kind in (ours, peer))
    assert_equal_to(peer, ours, laid_out(shape))
    x = laid_out(shape).detach().contiguous()
    torch.testing.assert_close(ours(x), peer(x))


def test_a_tile_is_the_kernel_times_the_voxel():
    up = Tiles2d(2, 1, 2, 2)
    nn.init.constant_(up.bias, 0.5)
    with torch.no_grad():
        up.weight[:] = torch.tensor([[[[1.0, 2], [3, 4]]], [[[0.0, 0], [0, 0]]]])
    x = torch.tensor([[[[10.0, 0.0]], [[7.0, 7.0]]]]).to(memory_format=torch.channels_last)
    expected = [[10.5, 20.5, 0.5, 0.5], [30.5, 40.5, 0.5, 0.5]]
    assert up(x)[0, 0].tolist() == expected
    assert up.bfloat16()(x.bfloat16())[0, 0].tolist() == expected


@pytest.mark.parametrize(("ndim", "stride"), [(2, (2, 2)), (3, (1, 2, 2))])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_pooled_shortcut_equals_its_layers_one_by_one(ndim, stride, norm):
    kernel = (3,) * ndim
    block = Block(ndim, 4, 6, kernel=kernel, stride=stride, norm=norm, residual=True)
    one_by_one = nn.Sequential(*block.shortcut)
    x = laid_out((2, 4, *(6,) * ndim))
    block.shortcut.train()
    for a, b in zip(results(block.shortcut, x), results(one_by_one, x), strict=True):
        if a.shape != (6,):  # running statistics moved twice
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_pooling_by_hand():
    conv = nn.Conv2d(1, 1, 1)
    nn.init.constant_(conv.weight, 2.0)
    nn.init.constant_(conv.bias, 1.0)
    x = torch.tensor([[[[1.0, 2, 9], [3, 6, 9]]]])
    assert pooled_conv(x, conv, (2, 2)).tolist() == [[[[7.0]]]]  # 2 * 3 + 1; the rest is left out
