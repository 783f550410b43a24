from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn

from medseg.errors import ConfigError
from medseg.networks import Prediction
from medseg.networks.unetpp import UNetPlusPlus

MONAI_FORM = {"widths": (32, 32, 64, 128, 256), "up": "transposed"}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_count_of_the_reference_form():
    with torch.device("meta"):
        ours = UNetPlusPlus(ndim=3, in_channels=1, num_classes=2, **MONAI_FORM)
    assert round(count(ours) / 1e6, 2) == 6.98


def test_parameter_count_with_transposed_convolutions_and_no_norm():
    # The 9.04 M reported for UNet++ (from memory) are these: transposed convolutions, no norm.
    with torch.device("meta"):
        ours = UNetPlusPlus(ndim=2, in_channels=3, num_classes=1, norm="none", up="transposed")
    assert round(count(ours) / 1e6, 2) == 9.04


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_head_equals_monais_after_its_weights_are_loaded(ndim):
    torch.manual_seed(0)
    widths = (4, 4, 8, 16, 32)
    theirs = BasicUNetPlusPlus(
        spatial_dims=ndim,
        in_channels=2,
        out_channels=3,
        features=(*widths, widths[0]),
        deep_supervision=True,
        act=("LeakyReLU", {"negative_slope": 0.01}),
    ).eval()
    ours = UNetPlusPlus(ndim=ndim, in_channels=2, num_classes=3, widths=widths, up="transposed")
    given = theirs.state_dict()
    for i in range(5):
        down = f"conv_{i}_0" if i == 0 else f"conv_{i}_0.convs"
        load_convs(ours.encoder[i], given, down)
        for j in range(1, 5 - i):
            load_convs(ours.nodes[i][j - 1], given, f"upcat_{i}_{j}.convs")
            for kind in ("weight", "bias"):
                wanted = getattr(ours.ups[i][j - 1], kind)
                wanted.data.copy_(given[f"upcat_{i}_{j}.upsample.deconv.{kind}"])
    for j, head in enumerate(ours.heads, start=1):
        for kind in ("weight", "bias"):
            getattr(head, kind).data.copy_(given[f"final_conv_0_{j}.{kind}"])
    image = torch.randn(1, 2, *(32, 16, 16)[:ndim])
    with torch.no_grad():
        expected = theirs(image)  # X[0, 1] first
        out = ours.train()(image)
        for mine, other in zip((*reversed(out.aux), out.logits), expected, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
        average = ours.eval()(image)
        torch.testing.assert_close(average, sum(expected) / 4, atol=1e-4, rtol=1e-4)
        for level in range(1, 5):
            ours.prune = level
            torch.testing.assert_close(ours(image), expected[level - 1], atol=1e-4, rtol=1e-4)


def load_convs(node: nn.Module, given: dict[str, torch.Tensor], key: str) -> None:
    """Copy two convolutions and norms; the biases before an instance norm change nothing."""
    for i, unit in enumerate(node):
        unit[0].weight.data.copy_(given[f"{key}.conv_{i}.conv.weight"])
        for kind in ("weight", "bias"):
            getattr(unit[1], kind).data.copy_(given[f"{key}.conv_{i}.adn.N.{kind}"])


def test_heads_are_four_and_at_full_resolution():
    network = UNetPlusPlus(ndim=2, in_channels=1, num_classes=3, widths=(2, 2, 2, 2, 2))
    out = network(torch.rand(1, 1, 30, 19))
    assert isinstance(out, Prediction)
    assert [tuple(x.shape) for x in (out.logits, *out.aux)] == [(1, 3, 30, 19)] * 4
    alone = UNetPlusPlus(
        ndim=2, in_channels=1, num_classes=3, widths=(2, 2, 2), deep_supervision=False
    )
    assert isinstance(alone(torch.rand(1, 1, 8, 8)), torch.Tensor)
    assert len(alone.heads) == 1


def test_a_node_sees_all_nodes_of_its_row_and_the_one_below():
    network = UNetPlusPlus(ndim=2, in_channels=1, num_classes=2, widths=(2, 3, 5))
    inputs = [[node[0][0].in_channels for node in row] for row in network.nodes]
    assert inputs == [[2 + 2, 2 + 2 + 2], [3 + 3], []]


def test_a_pruned_network_does_not_touch_what_lies_deeper():
    network = UNetPlusPlus(ndim=2, in_channels=1, num_classes=2, widths=(4, 4, 4, 4), prune=1)
    for part in (*network.encoder[2:], *network.nodes[1], *network.nodes[0][1:]):
        for parameter in part.parameters():
            parameter.data.fill_(torch.nan)
    assert network.eval()(torch.rand(1, 1, 16, 16)).isfinite().all()
    network.prune = 2
    assert network(torch.rand(1, 1, 16, 16)).isnan().any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prune": 3}, "take 1 to 2"),
        ({"prune": 0}, "take 1 to 2"),
        ({"prune": 1, "deep_supervision": False}, "deep_supervision on"),
        ({"widths": (4,)}, "needs two"),
        ({"up": "resise"}, "did you mean 'resize'"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        UNetPlusPlus(
            **{"ndim": 2, "in_channels": 1, "num_classes": 2, "widths": (2, 2, 2), **arguments}
        )
