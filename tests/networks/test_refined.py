"""SegNeXt, PointRend, K-Net, Gated-SCNN, M-Net, W-Net, Y-Net, GRUU-Net beyond the contract."""

from __future__ import annotations

import math

import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks import NETWORKS, SliceWise
from medseg.networks.context.ham import factorised
from medseg.networks.context.kernels import KernelUpdate
from medseg.networks.context.spatial_pyramid import SpatialPyramid
from medseg.networks.conv_gru import ConvGRU
from medseg.networks.pointrend import PointRend
from medseg.networks.points import coordinates, draw_points, sample
from medseg.networks.soft_ncut import soft_ncut
from medseg.networks.wnet import WNet
from medseg.networks.ynet import YNet
from tests.networks.test_contract import SMALL, make


def millions(name, num_classes, **arguments):
    with torch.device("meta"):
        network = NETWORKS[name](ndim=2, in_channels=3, num_classes=num_classes, **arguments)
    return sum(p.numel() for p in network.parameters()) / 1e6


def test_parameters_of_the_reference_forms():
    large = {"encoder": "mscan_b", "ham_channels": 512, "channels": 512}
    assert round(millions("segnext", 150), 2) == 4.26
    assert round(millions("segnext", 150, **large), 2) == 27.64
    assert round(millions("pointrend", 19), 2) == 28.72


def test_strips_are_one_per_axis_and_leave_a_thin_axis_alone():
    encoder = NETWORKS["segnext"](
        ndim=3,
        in_channels=1,
        num_classes=2,
        width=0.25,
        strides=((1, 2, 2),) * 5,
        kernel_sizes=((1, 3, 3),) * 5,
    ).encoder.eval()
    strips = encoder.stages[0][1].attend[1].strips
    assert [c.kernel_size for c in strips[0]] == [(1, 1, 7), (1, 7, 1)]
    image = torch.randn(1, 1, 2, 32, 32)
    slices = torch.cat([encoder(part)[-1] for part in image.split(1, dim=2)], dim=2)
    torch.testing.assert_close(encoder(image)[-1], slices, atol=1e-5, rtol=1e-4)


def test_factors_of_a_matrix_of_their_rank_are_found():
    torch.manual_seed(0)
    x = torch.rand(2, 8, 3) @ torch.rand(2, 3, 20)
    start = torch.nn.functional.normalize(torch.rand(8, 3), dim=0)
    error = [(factorised(x, start, steps) - x).norm() / x.norm() for steps in (0, 5, 500)]
    assert error[0] > error[1] > error[2]
    assert error[2] < 0.1
    assert (factorised(torch.zeros(1, 8, 4), start, 3) == 0).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_point_at_a_voxels_centre_sees_that_voxel(ndim):
    sizes = (3, 4, 5)[:ndim]
    x = torch.randn(2, 3, *sizes)
    places = torch.arange(math.prod(sizes)).expand(2, -1)
    seen = sample(x, coordinates(places, sizes))
    torch.testing.assert_close(seen, x.flatten(2).transpose(1, 2))


def test_points_are_drawn_once_and_mostly_where_classes_tie():
    torch.manual_seed(0)
    logits = torch.zeros(2, 3, 10, 10)
    logits[:, 0] = 5.0
    logits[:, 1, :, :2] = 5.0  # ties in a fifth of the image
    points = draw_points(logits, 20)
    assert points.shape == (2, 20)
    assert all(len(set(row)) == 20 for row in points.tolist())
    tied = (points % 10 < 2).sum(1)
    assert (tied >= 7).all()  # of 60 candidates about 12 tie; by chance it would be 4
    assert draw_points(logits[..., :2, :2], 20).shape == (2, 4)


def test_in_evaluation_only_the_least_certain_voxels_change():
    torch.manual_seed(0)
    options = {**SMALL["pointrend"], "strides": (1, 2, 2, 2, 2), "inference_points": 5}
    network = PointRend(ndim=2, in_channels=2, num_classes=3, **options).eval()
    image = torch.randn(1, 2, 32, 32)
    coarse = network.head(network.encoder(image))
    plain = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    assert coarse.shape[2:] == (16, 16)
    assert ((network(image) - plain).abs().amax(1) > 1e-6).sum() == 5


def test_a_kernel_update_pools_under_its_masks():
    torch.manual_seed(0)
    update = KernelUpdate(2, 4, 2).eval()
    seen = []
    update.of_group.register_forward_hook(lambda m, given, out: seen.append(given[0]))
    x = torch.randn(1, 4, 2, 3)
    masks = torch.full((1, 2, 2, 3), -50.0)
    masks[0, 0, 0] = masks[0, 1, 1] = 50.0  # class 0 above, class 1 below
    logits, kernels = update(x, masks, torch.randn(1, 2, 4))
    rows = update.transform(x).mean(3)[0].T  # the mean of each row
    torch.testing.assert_close(seen[0][0], rows, atol=1e-5, rtol=1e-4)
    assert (logits.shape, kernels.shape) == ((1, 2, 2, 3), (1, 2, 4))


def test_gated_scnn_scores_edges_in_training():
    out = make("gated_scnn", 3).train()(torch.randn(2, 2, 9, 8, 7))
    assert out.extras["edges"].shape == (2, 1, 9, 8, 7)
    assert out.extras["dual_edges"] is out.extras["edges"]


def test_mnet_gives_the_mean_of_its_sides():
    network = make("mnet", 2).eval()
    image = torch.randn(1, 2, 16, 16)
    out = network.train()(image)
    sides = [torch.nn.functional.interpolate(x, (16, 16), mode="bilinear") for x in out.aux]
    torch.testing.assert_close(out.logits, sum(sides) / len(sides))
    assert out.aux_weights == (1.0, 1.0)


def test_a_normalised_cut_by_hand():
    image = torch.tensor([[[[0.0, 1.0]]]])  # as grey values 0 and 255
    one = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    weight = math.exp(-((255 / 50) ** 2) - 1 / 16)
    cut = soft_ncut(one, image, radius=1, intensity_scale=50)
    assert cut.item() == pytest.approx(2 - 2 / (1 + weight), abs=1e-6)
    alike = soft_ncut(torch.full_like(one, 0.5), image, radius=1, intensity_scale=50)
    assert alike.item() == pytest.approx(1.0)  # K - 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_cut_along_an_edge_costs_less_than_across(ndim):
    image = torch.zeros(1, 1, *(6,) * ndim)
    image[:, :, 3:] = 1.0
    truth = torch.cat((1 - image, image), 1)
    across = truth.transpose(2, 3)
    cuts = [soft_ncut(p, image, radius=2).item() for p in (truth, across)]
    assert cuts[0] < 1e-3 < cuts[1]
    assert soft_ncut(truth[..., :1, :1], image[..., :1, :1], radius=5).isfinite().all()


def test_wnet_brings_terms_that_need_no_label():
    network = make("wnet", 2).train()
    image = torch.randn(2, 2, 16, 16)
    out = network(image)
    assert set(out.extras) == {"penalty_ncut", "penalty_reconstruction"}
    assert all(x.shape == (2, 1, 1, 1) for x in out.extras.values())
    error = (network.decode(out.logits.softmax(1)) - image).square().mean((1, 2, 3))
    torch.testing.assert_close(out.extras["penalty_reconstruction"].flatten(), 0.1 * error)
    sliced = SliceWise(network, axis=0)(torch.randn(1, 2, 3, 8, 8))
    assert sliced.extras["penalty_ncut"].shape == (1, 1, 3, 1, 1)
    with pytest.raises(ConfigError, match="exclude each other"):
        WNet(ndim=2, in_channels=1, num_classes=1)


def test_ynet_tells_which_classes_occur():
    out = make("ynet", 3).train()(torch.randn(2, 2, 8, 8, 8))
    assert out.extras["presence"].shape == (2, 3, 1, 1, 1)
    with pytest.raises(ConfigError, match="multiple of 4"):
        YNet(ndim=2, in_channels=1, num_classes=2, widths=(6, 8))


def test_a_spatial_pyramid_adds_up_from_rate_to_rate():
    torch.manual_seed(0)
    block = SpatialPyramid(2, 8, (3, 3), "none")
    x = torch.randn(1, 8, 9, 9)
    narrow, total, made = block.reduce(x), 0, []
    for rate, branch in zip((1, 2, 4, 8), block.branches, strict=True):
        kernel = {"padding": rate, "dilation": rate}
        total = total + torch.nn.functional.conv2d(narrow, branch.weight, **kernel)
        made.append(total)
    torch.testing.assert_close(block(x), (x + torch.cat(made, 1)).relu())


def test_a_gated_unit_keeps_its_state_or_takes_the_candidate():
    cell = ConvGRU(2, 2, (3, 3))
    x, state = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 4)
    cell.gates.bias.data[:2] = -100.0
    torch.testing.assert_close(cell(x, state), state)
    cell.gates.bias.data[:] = 100.0
    torch.testing.assert_close(cell(x, state), cell.candidate(torch.cat((x, state), 1)).tanh())
