"""Networks of a context module on a dilated encoder: what each adds to the contract."""

from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.encnet import EncNet
from medseg.networks.fastfcn import HEADS, fastfcn
from medseg.networks.ocrnet import OCRNet
from medseg.networks.psanet import PSANet
from medseg.networks.slicewise import SliceWise

TINY = {"in_channels": 1, "num_classes": 3, "encoder": "resnet18_v1c", "width": 0.125}


@pytest.mark.parametrize("ndim", [2, 3])
def test_encnet_scores_the_presence_of_each_class(ndim):
    network = EncNet(ndim=ndim, **TINY).train()
    out = network(torch.randn(2, 1, *(32,) * ndim))
    assert out.extras["presence"].shape == (2, 3, *(1,) * ndim)
    assert out.aux_weights == (0.4,)
    assert isinstance(network.eval()(torch.randn(1, 1, *(32,) * ndim)), torch.Tensor)


def test_presence_of_slices_is_a_row_of_cells():
    network = SliceWise(EncNet(ndim=2, **TINY), axis=0).train()
    out = network(torch.randn(1, 1, 4, 32, 32))
    assert out.extras["presence"].shape == (1, 3, 4, 1, 1)
    assert out.aux_weights == (0.4,)


@pytest.mark.parametrize("ndim", [2, 3])
def test_ocrnet_supervises_the_logits_that_gather_its_objects(ndim):
    network = OCRNet(ndim=ndim, **TINY).train()
    given = []
    network.head.context.register_forward_hook(lambda m, args, out: given.append(args[1]))
    out = network(torch.randn(2, 1, *(32,) * ndim))
    assert len(out.aux) == 1
    assert out.aux[0] is given[0]
    assert out.aux_weights == (0.4,)


def test_psanet_has_a_weight_for_each_offset():
    with torch.device("meta"):
        network = PSANet(ndim=2, **TINY)
        solid = PSANet(ndim=3, **TINY)
    assert network.head.context.offsets[0][1].out_channels == 97**2
    assert solid.head.context.offsets[0][1].out_channels == 15**3
    with pytest.raises(ConfigError, match=r"network\.arguments\.mask is 8"):
        PSANet(ndim=2, mask=8, **TINY)
    with pytest.raises(ConfigError, match=r"network\.arguments\.shrink"):
        PSANet(ndim=2, shrink=0, **TINY)


@pytest.mark.parametrize("head", sorted(HEADS))
def test_any_head_goes_behind_joint_pyramid_upsampling(head):
    network = fastfcn(head=head, ndim=2, **TINY).eval()
    assert network.divisor == (32, 32)
    assert network.encoder(torch.zeros(1, 1, 64, 64))[-1].shape[2:] == (8, 8)
    assert network(torch.zeros(1, 1, 33, 40)).shape == (1, 3, 33, 40)


def test_an_unknown_head_is_explained():
    with pytest.raises(ConfigError, match="did you mean 'pspnet'"):
        fastfcn(head="pspnett", ndim=2, **TINY)
